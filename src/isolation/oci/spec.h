#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include "base/json.h"
#include "isolation/driver.h"

namespace atl::isolation::oci {

enum class Runtime : std::uint8_t { crun, runsc };

// All that a bundle's config.json depends on.
struct Plan {
  Runtime runtime = Runtime::crun;
  Spec spec;
  std::string root;                 // the mounted root file system
  std::uint64_t open_files_max = 0; // this process's hard RLIMIT_NOFILE: more cannot be given
  std::string seccomp_bpf;          // the filter compiled (container tier)
  int user_namespace = -1;          // made for the runtime to join (container tier); see linux_of
};

// Where the agent and its channel appear inside.
inline constexpr char kAgentPath[] = "/run/atoll-agent";
inline constexpr char kChannelDir[] = "/run/atoll";

// Capabilities of root inside, over its own namespaces only; also the bounding set of all.
inline constexpr std::string_view kCapabilities[] = {
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID",   // package managers, tar
    "CAP_KILL",                                                    // the agent ends its users' processes
    "CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP",                     // sudo, su, daemons that drop root
    "CAP_SETFCAP",                                                 // packages whose files carry capabilities
    "CAP_NET_BIND_SERVICE",                                        // servers on ports below 1024
    "CAP_SYS_CHROOT"};                                             // package managers' scripts, sshd
// Left out: NET_RAW and NET_ADMIN (packets, interfaces: the runtime raises loopback itself), MKNOD
// (no device can be made in a user namespace anyway), SYS_PTRACE (process 1 stays unreadable;
// debugging one's own processes needs none), SYS_ADMIN, SYS_RESOURCE, SYS_NICE, IPC_LOCK, AUDIT_*.
std::uint64_t capability_mask();

// Checks every field of a Spec that comes from outside; Errc::invalid names it.
Status check(const Spec& spec);
// The config.json. Pure.
json::object make_config(const Plan& plan);
// Its mounts alone.
json::array make_mounts(const Plan& plan);

}  // namespace atl::isolation::oci
