#pragma once
#include <cstdint>
#include <string>

#include "base/paths.h"

namespace atl {

// All settings of atolld, each with its default. Filled by atolld's command line; every role gets
// the parts it needs.
struct Config {
  Paths paths;
  std::string listen_host = "127.0.0.1";
  std::uint16_t listen_port = 7700;       // 0 = any free one; see Paths::endpoint_file
  // Domain mode: clients reach https://api.<domain>, https://{port}-{id}.<domain> and
  // https://sandbox.<domain>. "" = off, and the other tls_ settings mean nothing.
  std::string domain;                     // lower case, two labels or more
  std::string tls_listen_host = "*";      // * = all addresses, IPv6 too where there is any
  std::uint16_t tls_port = 443;
  // PEM files of root's, watched while atolld runs. Both "" = the local authority's (Paths::tls_dir).
  std::string tls_certificate, tls_key;
  // Unprivileged ids of the api and edge roles. They need no passwd entry.
  std::uint32_t api_uid = 64701;
  std::uint32_t edge_uid = 64702;
  // Host ids for sandboxes: sandbox n gets 65536 ids from uid_first + n * 65536.
  std::uint32_t uid_first = 1'000'000'000;
  std::uint32_t uid_ranges = 4096;
  // Names the cgroups (atoll-<instance>) so that two instances on one host never meet.
  std::string instance = "main";
  std::string agent_path = "/usr/local/lib/atoll/atoll-agent";
  std::string crun_path = "/usr/bin/crun";
  std::string runc_path = "/usr/sbin/runc";
  std::string qemu_path = "/usr/bin/qemu-system-x86_64";
  std::string jail_path = "/usr/local/lib/atoll/atoll-jail";
  std::string guest_kernel_dir;           // "" = <root>/guest/kernel
  // Lets QEMU emulate the CPU where KVM does not work. Such a microvm is taken only by its name.
  bool microvm_slow = false;
  std::string runsc_path;                 // "" = <root>/runtimes/runsc, then /usr/bin, /usr/local/bin

  // The domain as clients name it: with its port where that is not 443. "" = none.
  std::string public_domain() const {
    return domain.empty() || tls_port == 443 ? domain : domain + ":" + std::to_string(tls_port);
  }
};

}  // namespace atl
