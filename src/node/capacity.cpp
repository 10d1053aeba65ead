#include "node/capacity.h"

#include <fmt/format.h>
#include <sys/statvfs.h>
#include <sys/sysinfo.h>

#include <algorithm>
#include <cstdlib>

#include "base/fs.h"

namespace atl::node {
namespace {

constexpr std::int64_t mib(std::int64_t bytes) { return bytes >> 20; }

// What may still be used without swapping, as the kernel estimates it.
std::int64_t memory_available() {
  auto text = read_file("/proc/meminfo", 64 * 1024);
  if (!text.ok()) return INT64_MAX;
  const auto at = text->find("MemAvailable:");
  return at == text->npos ? INT64_MAX : std::strtoll(text->c_str() + at + 13, nullptr, 10) * 1024;
}

}  // namespace

Result<DiskSpace> free_disk_space(const std::string& folder) {
  struct statvfs info {};
  if (::statvfs(folder.c_str(), &info) != 0) return os_error("statvfs", folder);
  const auto block = static_cast<std::int64_t>(info.f_frsize);
  return DiskSpace{static_cast<std::int64_t>(info.f_blocks) * block, static_cast<std::int64_t>(info.f_bavail) * block};
}

std::int64_t disk_floor(const DiskSpace& space) { return std::max(kHostDiskFloor, space.total_bytes / 20); }

Status check_disk(const DiskSpace& space, const DiskNeed& need, const std::string& folder) {
  if (const std::int64_t floor = disk_floor(space); space.free_bytes < floor)
    return make_error(Errc::exhausted,
                      fmt::format("this node has {} MiB of disk left in {}, and takes no new sandbox below {} MiB (5 % of it, at "
                                  "least 512 MiB); end sandboxes, remove templates, or free disk",
                                  mib(space.free_bytes), folder, mib(floor)));
  const std::int64_t room = space.free_bytes + need.used_bytes;
  // Divided one by one: no limits, however large, overflow this.
  if (need.promised_bytes / kDiskOvercommit + need.asked_bytes / kDiskOvercommit > room)
    return make_error(Errc::exhausted,
                      fmt::format("a disk of {} MiB was asked, and {} MiB are promised to this node's sandboxes: together more than "
                                  "{} times the {} MiB that {} has for them; end some first, ask for a smaller disk, or add disk",
                                  mib(need.asked_bytes), mib(need.promised_bytes), kDiskOvercommit, mib(room), folder));
  return ok();
}

Status check_memory(std::int64_t asked_bytes, std::int64_t promised_bytes) {
  struct sysinfo host {};
  ::sysinfo(&host);
  const auto total = static_cast<std::int64_t>(host.totalram * host.mem_unit);
  if (promised_bytes / kMemoryOvercommit + asked_bytes / kMemoryOvercommit > total)
    return make_error(Errc::exhausted,
                      fmt::format("{} MiB of memory were asked, and {} MiB are promised to this node's sandboxes: together more than "
                                  "{} times its memory of {} MiB; end some first, or ask for less",
                                  mib(asked_bytes), mib(promised_bytes), kMemoryOvercommit, mib(total)));
  if (const std::int64_t left = memory_available(); left < kHostMemoryFloor)
    return make_error(Errc::exhausted, fmt::format("this node has {} MiB of memory left, and takes no new sandbox below {} MiB; "
                                                   "end some sandboxes first",
                                                   mib(left), mib(kHostMemoryFloor)));
  return ok();
}

}  // namespace atl::node
