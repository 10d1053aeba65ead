#pragma once
#include <chrono>
#include <deque>

#include "isolation/driver.h"

namespace atl::node {

struct UsageSample {
  std::int64_t unix_ms = 0;
  double cpu_used_pct = 0;  // of one CPU
  isolation::Usage usage;
};

// The last hour of one sandbox at one sample in five seconds.
class UsageRing {
 public:
  static constexpr std::chrono::milliseconds kPeriod{5000};
  static constexpr std::size_t kSamplesMax = 3600 / 5;

  void add(std::int64_t unix_ms, const isolation::Usage& usage) {
    UsageSample sample{unix_ms, 0, usage};
    if (!samples_.empty()) {
      const auto& before = samples_.back();
      const std::int64_t elapsed_usec = (unix_ms - before.unix_ms) * 1000;
      // The counter may start anew, and the wall clock may step back: then there is no rate to give.
      if (elapsed_usec > 0 && usage.cpu_usec >= before.usage.cpu_usec)
        sample.cpu_used_pct = 100.0 * static_cast<double>(usage.cpu_usec - before.usage.cpu_usec) /
                              static_cast<double>(elapsed_usec);
    }
    samples_.push_back(std::move(sample));
    if (samples_.size() > kSamplesMax) samples_.pop_front();
  }
  const std::deque<UsageSample>& samples() const { return samples_; }
  std::int64_t disk_used_bytes() const { return samples_.empty() ? 0 : samples_.back().usage.disk_used_bytes; }

 private:
  std::deque<UsageSample> samples_;
};

}  // namespace atl::node
