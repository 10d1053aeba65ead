#pragma once
#include <chrono>

namespace atl {

// Time as a parameter, so that leases and reapers are tested without sleeping.
struct Clock {
  virtual ~Clock() = default;
  virtual std::chrono::steady_clock::time_point steady() const = 0;
  virtual std::chrono::system_clock::time_point wall() const = 0;
};

struct SystemClock final : Clock {
  std::chrono::steady_clock::time_point steady() const override { return std::chrono::steady_clock::now(); }
  std::chrono::system_clock::time_point wall() const override { return std::chrono::system_clock::now(); }
};

// For tests: stands still until told.
struct FakeClock final : Clock {
  std::chrono::steady_clock::time_point steady_now{};
  std::chrono::system_clock::time_point wall_now{};
  std::chrono::steady_clock::time_point steady() const override { return steady_now; }
  std::chrono::system_clock::time_point wall() const override { return wall_now; }
  void advance(std::chrono::nanoseconds by) {
    steady_now += std::chrono::duration_cast<std::chrono::steady_clock::duration>(by);
    wall_now += std::chrono::duration_cast<std::chrono::system_clock::duration>(by);
  }
};

inline std::int64_t unix_millis(std::chrono::system_clock::time_point t) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(t.time_since_epoch()).count();
}
inline std::chrono::system_clock::time_point from_unix_millis(std::int64_t ms) {
  return std::chrono::system_clock::time_point(std::chrono::milliseconds(ms));
}

}  // namespace atl
