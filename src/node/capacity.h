#pragma once
#include <cstdint>
#include <functional>
#include <string>

#include "base/result.h"

namespace atl::node {

// Limits are promises, most of which are never called in, so their sums may exceed what there is.
inline constexpr std::int64_t kMemoryOvercommit = 8;  // sum of memory limits over the host's memory
// Sum of disk limits over what sandboxes' disks can get. With the default of 10 GiB a sandbox, disk then
// runs out before memory only on hosts with less than 2.5 times as much disk as memory.
inline constexpr std::int64_t kDiskOvercommit = 32;
inline constexpr std::int64_t kHostMemoryFloor = 256ll << 20;  // left for the host itself
inline constexpr std::int64_t kHostDiskFloor = 512ll << 20;    // or 5 % of the file system, where that is more

struct DiskSpace {
  std::int64_t total_bytes = 0, free_bytes = 0;  // of the file system that holds the sandboxes' disks
};
using DiskSpaceOf = std::function<Result<DiskSpace>(const std::string& folder)>;
Result<DiskSpace> free_disk_space(const std::string& folder);

struct DiskNeed {
  std::int64_t asked_bytes = 0;     // by the new sandbox
  std::int64_t promised_bytes = 0;  // to those that are there
  std::int64_t used_bytes = 0;      // by them, as last sampled
};

std::int64_t disk_floor(const DiskSpace& space);
// Errc::exhausted: the floor is reached, or the promises would be too many. `folder` is for the message.
Status check_disk(const DiskSpace& space, const DiskNeed& need, const std::string& folder);
// The same of the host's memory: of limits promised, and of what is available at this moment.
Status check_memory(std::int64_t asked_bytes, std::int64_t promised_bytes);

}  // namespace atl::node
