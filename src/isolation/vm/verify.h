#pragma once
#include "base/json.h"
#include "isolation/cgroup/group.h"

namespace atl::isolation::vm {

// What was asked for one VMM's process.
struct Confined {
  std::uint32_t uid = 0;
  std::int64_t memory_bytes = 0;      // the guest's
  std::int64_t vmm_memory_bytes = 0;  // the cgroup's: the guest's and the VMM's own
  std::int64_t pids = 0;              // inside, kept by the guest's kernel
  std::int64_t disk_bytes = 0, inodes = 0;
};

// Reads back from /proc and cgroupfs that the VMM is confined as asked, and gives the receipt's part
// of it. Errc::unsupported where anything is weaker.
Result<json::object> verify(const Confined& asked, pid_t vmm, const cgroup::Group& group);

}  // namespace atl::isolation::vm
