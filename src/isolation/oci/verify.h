#pragma once
#include "base/json.h"
#include "base/subprocess.h"
#include "isolation/cgroup/group.h"
#include "isolation/oci/spec.h"

namespace atl::isolation::oci {

// What /proc/PID/status says of a process's confinement.
struct Confinement {
  int seccomp_mode = 0;                // 2 = filtered
  int seccomp_filters = 0;
  std::uint64_t bounding = 0, effective = 0;
  bool no_new_privs = false;
};
Result<Confinement> parse_confinement(std::string_view proc_status);

// Who the kernel charges for what is made inside (rootfs/user_namespace.h): the user namespace of the
// process at `proc` (/proc/PID) must have been made by user `owner` of the host.
Status verify_owner(const std::string& proc, uid_t owner);

// Looks at the running sandbox as the kernel shows it, and refuses it (Errc::unsupported) where
// anything is weaker than the plan. What it found becomes the receipt's fields.
Result<json::object> verify(const Plan& plan, pid_t init, const cgroup::Group& group);

}  // namespace atl::isolation::oci
