#pragma once
#include <optional>
#include <string>
#include <unordered_map>

#include "base/clock.h"
#include "control/sandbox_index.h"
#include "store/records.h"

namespace atl::control {

// Why a create may not go on now. `wait_s`: when it may, where that is known.
struct Refusal {
  std::string message;
  std::int64_t wait_s = 1;
  bool retry_helps = false;  // within the time that a client's retries last
};

// The numbers of RateLimit-Limit, -Remaining and -Reset.
struct RateState {
  std::int64_t limit = 0, remaining = 0, reset_s = 0;
};

// How many more a project may hold: compares its use with its quota. `clock` gives wait_s.
std::optional<Refusal> check_quota(const store::Quota& quota, const Use& use, const Use& wanted,
                                   std::int64_t first_end_ms, std::int64_t now_ms);

// Creates a minute, one token bucket a project. Loop thread only.
class CreateRate {
 public:
  explicit CreateRate(const Clock& clock) : clock_(clock) {}
  // Takes one; a failed create gives it back.
  std::optional<Refusal> take(const std::string& project_id, std::int64_t per_minute);
  void give_back(const std::string& project_id, std::int64_t per_minute);
  RateState state(const std::string& project_id, std::int64_t per_minute);

 private:
  struct Bucket {
    double tokens;
    std::chrono::steady_clock::time_point filled;
  };
  Bucket& refill(const std::string& project_id, std::int64_t per_minute);

  const Clock& clock_;
  std::unordered_map<std::string, Bucket> buckets_;  // bounded by the number of projects
};

}  // namespace atl::control
