#include "base/limits.h"
#include "control/create_request.h"
#include "control/routes.h"
#include "control/shapes.h"

namespace atl::control {
namespace {

constexpr std::int64_t kRefreshFloorS = 15;
constexpr std::int64_t kRefreshMostS = 3600;
constexpr std::int64_t kConnectV2S = 300;
constexpr std::int64_t kAnyInt = 1'000'000'000'000;

// `not_found` from the node means that the sandbox ended a moment ago; clients read that as a 404.
Answer changed(const Status& status, Answer well) { return status.ok() ? std::move(well) : failure(status.error()); }

Error over_most(std::int64_t seconds) {
  return make_error(Errc::invalid, "timeout: " + std::to_string(seconds) + " s asked, at most " +
                                       std::to_string(limits::sandbox_timeout_s_max) + " s are possible");
}

// `otherwise` < 0: the field must be there.
Result<std::int64_t> connect_timeout(const std::string& text, std::int64_t otherwise) {
  TRY(const json::value value, parse_body(text, otherwise >= 0));
  const JsonReader body(value);
  TRY(const auto asked, body.opt_int("timeout", -kAnyInt, kAnyInt));
  if (!asked && otherwise < 0) return make_error(Errc::invalid, "timeout: missing, a whole number is required");
  const std::int64_t seconds = asked.value_or(otherwise);
  if (seconds < 0) return make_error(Errc::invalid, "timeout: " + std::to_string(seconds) + " s asked, it must not be negative");
  if (seconds > limits::sandbox_timeout_s_max) return over_most(seconds);
  TRY(const auto memory, body.opt_bool("memory"));
  if (memory && !*memory)
    return make_error(Errc::unsupported, "memory: false asks for a boot from disk, which is not available yet; leave it out");
  return seconds;
}

Task<Answer> connect(Call& call, std::int64_t otherwise) {
  auto body = co_await call.body();
  if (!body.ok()) co_return failure(body.error());
  const auto seconds = connect_timeout(*body, otherwise);
  if (!seconds.ok() && seconds.error().code == Errc::unsupported)
    co_return failure(400, seconds.error().message, "sandbox_memory_override_disabled");
  if (!seconds.ok()) co_return invalid(seconds.error());
  const Found found = running_sandbox(call);
  if (!found.entry) co_return found.missing;
  const auto end = call.core.now_ms() + *seconds * 1000;
  if (end > found.entry->row.end_ms) {
    const auto status = co_await set_end(call.core, found.entry, end, true);
    if (!status.ok()) co_return failure(status.error());
  }
  co_return json_answer(200, sandbox_shape(call.core, found.entry->row));
}

Result<std::int64_t> timeout_of(const std::string& text) {
  TRY(const json::value value, parse_body(text, false));
  const JsonReader body(value);
  TRY(const auto asked, body.opt_int("timeout", -kAnyInt, kAnyInt));
  if (!asked) return make_error(Errc::invalid, "timeout: missing, a whole number is required");
  return std::clamp<std::int64_t>(*asked, 0, limits::sandbox_timeout_s_max);
}

Result<std::int64_t> refresh_of(const std::string& text) {
  TRY(const json::value value, parse_body(text, true));
  const JsonReader body(value);
  TRY(const auto asked, body.opt_int("duration", 0, kRefreshMostS));
  return std::max(asked.value_or(kRefreshFloorS), kRefreshFloorS);
}

}  // namespace

Task<Answer> connect_v1(Call& call) { return connect(call, -1); }
Task<Answer> connect_v2(Call& call) { return connect(call, kConnectV2S); }

Task<Answer> set_timeout(Call& call) {
  auto body = co_await call.body();
  if (!body.ok()) co_return failure(body.error());
  const auto seconds = timeout_of(*body);
  if (!seconds.ok()) co_return invalid(seconds.error());
  const Found found = running_sandbox(call);
  if (!found.entry) co_return found.missing;
  const std::int64_t end = call.core.now_ms() + *seconds * 1000;
  const auto status = co_await set_end(call.core, found.entry, end, false);
  co_return changed(status, no_content());
}

Task<Answer> refresh(Call& call) {
  auto body = co_await call.body();
  if (!body.ok()) co_return failure(body.error());
  const auto seconds = refresh_of(*body);
  if (!seconds.ok()) co_return invalid(seconds.error());
  const Found found = running_sandbox(call);
  if (!found.entry) co_return found.missing;
  const std::int64_t end = call.core.now_ms() + *seconds * 1000;
  if (end <= found.entry->row.end_ms) co_return no_content();
  const auto status = co_await set_end(call.core, found.entry, end, true);
  co_return changed(status, no_content());
}

}  // namespace atl::control
