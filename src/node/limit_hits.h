#pragma once
#include <algorithm>
#include <cstdint>
#include <string_view>

#include "isolation/driver.h"

namespace atl::node {

// When a sandbox last met its limits, from counters that only rise. A limit can end all of a sandbox:
// under gVisor the kernel that is killed, or that cannot make a thread, is the sandbox's own.
class LimitHits {
 public:
  // A limit met at most so long before the end is taken for its cause. Not the last sample alone: one may
  // fall between the hit and the end.
  static constexpr std::int64_t kCauseMs = 5000;

  void add(std::int64_t now_ms, const isolation::Usage& usage) {
    if (usage.oom_kills > oom_kills_) oom_ms_ = now_ms;
    if (usage.pids_refused > pids_refused_) pids_ms_ = now_ms;
    oom_kills_ = usage.oom_kills;
    pids_refused_ = usage.pids_refused;
  }
  std::string_view why_ended(std::int64_t now_ms) const {
    if (recent(oom_ms_, now_ms)) return "oom";
    if (recent(pids_ms_, now_ms)) return "pids";
    return "exited";
  }

  // No write of 1 MiB succeeds any more. ext4 keeps 2 % of a file system, at most 16 MiB, to itself, and
  // statfs counts them as free, so that a full small disk is never 99 % used. The 2 % are of the image,
  // whose inode tables statfs leaves out of the total: hence 1/40.
  static bool disk_full(const isolation::Usage& usage) {
    constexpr std::int64_t kMib = 1 << 20;
    const std::int64_t total = usage.disk_total_bytes, kept = std::min(total / 40, 16 * kMib);
    return total > 0 && total - usage.disk_used_bytes < kept + kMib;
  }

 private:
  static bool recent(std::int64_t then_ms, std::int64_t now_ms) { return then_ms > 0 && now_ms - then_ms <= kCauseMs; }

  std::int64_t oom_kills_ = 0, pids_refused_ = 0, oom_ms_ = 0, pids_ms_ = 0;
};

}  // namespace atl::node
