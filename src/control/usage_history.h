#pragma once
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "control/sandbox_index.h"

namespace atl::control {

// What a project did since the sample before: so that a short burst between two samples is not lost.
struct UsageSample {
  std::int64_t unix_ms = 0;      // the end of that time
  std::int32_t concurrent = 0;   // the most that ran at once
  float starts_per_s = 0;
};

// Samples of every project, in memory: a restart of the api begins them anew. Loop thread only.
class UsageHistory {
 public:
  static constexpr std::size_t kSamplesMax = 1440;  // a project; six hours at one in 15 s

  void begin(std::int64_t now_ms) { last_ms_ = now_ms; }
  // Adds one sample of each project that has done something within the time that is kept.
  void sample(const std::map<std::string, SandboxIndex::Activity>& since_last, std::int64_t now_ms);
  // Oldest first, within [from_ms, to_ms]. `unfinished`: what came after the last sample; it counts once a
  // second of it has passed.
  std::vector<UsageSample> of(const std::string& project_id, const SandboxIndex::Activity& unfinished, std::int64_t now_ms,
                              std::int64_t from_ms, std::int64_t to_ms) const;

 private:
  struct Ring {
    std::deque<UsageSample> samples;
    std::size_t idle = 0;  // samples in a row that were empty
  };
  UsageSample make(const SandboxIndex::Activity& activity, std::int64_t now_ms) const;

  std::map<std::string, Ring> rings_;  // projects that were idle for the whole length have none
  std::int64_t last_ms_ = 0;
};

}  // namespace atl::control
