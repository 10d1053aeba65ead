#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/subprocess.h"
#include "isolation/vm/vmm.h"

namespace atl::isolation::vm {

// What a VMM's process may do (jail_main.cpp has the how).
struct Jail {
  std::string program;           // atoll-jail
  std::string root;              // an empty folder of the host to mount on; many jails may share it
  std::string channel_dir;       // stays in the jail, read-only
  std::string kernel, initrd;    // files
  std::uint32_t uid = 0;
  std::uint64_t file_bytes_max = 0;
  bool kvm = false;              // gets /dev/kvm until it has started
  int seccomp_fd = -1;
};

// The command that starts the VMM; it ends once that runs, and prints its pid.
Command jail_command(const Jail& jail, const Launch& launch);
// Takes all from the root that was there for the start; what stays is /channel alone.
Command empty_command(const Jail& jail, const Launch& launch, pid_t vmm);

// The filter in the kernel's form that every VMM gets, before any of its own: calls by which a
// process gets at other processes, namespaces, mounts or rare parts of the kernel, and which no VMM
// makes, fail with EPERM.
Result<std::string> jail_filter();

}  // namespace atl::isolation::vm
