#include "control/quota.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace atl::control {
namespace {

// SDKs retry a 429 three times, each within their request timeout of 60 s.
constexpr std::int64_t kRetryWithinS = 10;

Refusal over(std::string_view what, std::int64_t wanted, std::int64_t used, std::int64_t quota, std::int64_t first_end_ms,
             std::int64_t now_ms) {
  Refusal out;
  out.message = fmt::format("this project's quota of {} {} does not allow {} more: {} are in use; kill sandboxes that are "
                            "not needed, or wait until some end", quota, what, wanted, used);
  const std::int64_t until_end_s = first_end_ms > 0 ? (first_end_ms - now_ms + 999) / 1000 : kRetryWithinS + 1;
  out.retry_helps = until_end_s <= kRetryWithinS;
  out.wait_s = std::clamp<std::int64_t>(until_end_s, 1, kRetryWithinS);
  return out;
}

}  // namespace

std::optional<Refusal> check_quota(const store::Quota& quota, const Use& use, const Use& wanted,
                                   std::int64_t first_end_ms, std::int64_t now_ms) {
  if (use.sandboxes + wanted.sandboxes > quota.sandboxes)
    return over("sandboxes", wanted.sandboxes, use.sandboxes, quota.sandboxes, first_end_ms, now_ms);
  if (use.vcpus + wanted.vcpus > quota.vcpus)
    return over("vCPUs", wanted.vcpus, use.vcpus, quota.vcpus, first_end_ms, now_ms);
  if (use.memory_mb + wanted.memory_mb > quota.memory_mb)
    return over("MB of memory", wanted.memory_mb, use.memory_mb, quota.memory_mb, first_end_ms, now_ms);
  return std::nullopt;
}

CreateRate::Bucket& CreateRate::refill(const std::string& project_id, std::int64_t per_minute) {
  const auto now = clock_.steady();
  const auto size = static_cast<double>(per_minute);
  auto [at, fresh] = buckets_.try_emplace(project_id, Bucket{size, now});
  Bucket& bucket = at->second;
  const std::chrono::duration<double> passed = now - bucket.filled;
  bucket.tokens = std::min(size, bucket.tokens + passed.count() * size / 60.0);
  bucket.filled = now;
  return bucket;
}

std::optional<Refusal> CreateRate::take(const std::string& project_id, std::int64_t per_minute) {
  Bucket& bucket = refill(project_id, per_minute);
  if (bucket.tokens >= 1.0) {
    bucket.tokens -= 1.0;
    return std::nullopt;
  }
  Refusal out;
  out.wait_s = per_minute <= 0
                   ? 60
                   : std::max<std::int64_t>(1, static_cast<std::int64_t>(std::ceil((1.0 - bucket.tokens) * 60.0 /
                                                                                   static_cast<double>(per_minute))));
  out.retry_helps = per_minute > 0;
  out.message = fmt::format("this project may create {} sandboxes a minute and has done so; wait {} s", per_minute, out.wait_s);
  return out;
}

void CreateRate::give_back(const std::string& project_id, std::int64_t per_minute) {
  Bucket& bucket = refill(project_id, per_minute);
  bucket.tokens = std::min(static_cast<double>(per_minute), bucket.tokens + 1.0);
}

RateState CreateRate::state(const std::string& project_id, std::int64_t per_minute) {
  const Bucket& bucket = refill(project_id, per_minute);
  RateState out;
  out.limit = per_minute;
  out.remaining = static_cast<std::int64_t>(bucket.tokens);
  if (per_minute > 0)
    out.reset_s = static_cast<std::int64_t>(
        std::ceil((static_cast<double>(per_minute) - bucket.tokens) * 60.0 / static_cast<double>(per_minute)));
  return out;
}

}  // namespace atl::control
