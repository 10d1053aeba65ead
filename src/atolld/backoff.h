#pragma once
#include <algorithm>
#include <chrono>

namespace atl::atolld {

// When a role that died is started again: after 100 ms, doubling to 5 s; one that lived 30 s begins
// anew.
class Backoff {
 public:
  using Time = std::chrono::steady_clock::time_point;
  static constexpr std::chrono::milliseconds kFirst{100}, kMost{5000}, kHealthy{30'000};

  void started(Time now) { started_ = now; }
  Time died(Time now) {
    if (now - started_ >= kHealthy) pause_ = kFirst;
    const Time again = now + pause_;
    pause_ = std::min(pause_ * 2, kMost);
    return again;
  }

 private:
  Time started_{};
  std::chrono::milliseconds pause_ = kFirst;
};

}  // namespace atl::atolld
