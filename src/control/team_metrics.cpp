#include <algorithm>

#include "control/routes.h"
#include "control/shapes.h"
#include "control/time_text.h"

namespace atl::control {
namespace {

constexpr std::int64_t kLatestS = 253'402'300'799;  // the end of the year 9999

struct Samples {
  std::vector<UsageSample> list;
  std::optional<Answer> refused;
};

// Within the query's `start` and `end` (unix seconds, both inclusive). Another project's answer like an unknown one.
Samples samples_of(const Call& call) {
  if (call.params.at(0) != call.project.id) return {{}, failure(403, "this key's project is another one than the team asked for")};
  const auto start = query_int(call.target, "start", 0, 0, kLatestS);
  if (!start.ok()) return {{}, invalid(start.error())};
  const auto end = query_int(call.target, "end", kLatestS, 0, kLatestS);
  if (!end.ok()) return {{}, invalid(end.error())};
  if (*start > *end) return {{}, failure(400, "validation error: query parameter start: later than end")};
  const Core& core = call.core;
  return {core.history.of(call.project.id, core.index.activity(call.project.id), core.now_ms(), *start * 1000, *end * 1000 + 999), {}};
}

json::object timed(std::int64_t unix_ms) {
  json::object out;
  out["timestamp"] = rfc3339(unix_ms);
  out["timestampUnix"] = unix_ms / 1000;
  return out;
}

}  // namespace

Task<Answer> team_metrics(Call& call) {
  auto samples = samples_of(call);
  if (samples.refused) co_return std::move(*samples.refused);
  json::array out;
  for (const UsageSample& one : samples.list) {
    json::object shape = timed(one.unix_ms);
    shape["concurrentSandboxes"] = one.concurrent;
    shape["sandboxStartRate"] = one.starts_per_s;
    out.emplace_back(std::move(shape));
  }
  co_return json_answer(200, out);
}

Task<Answer> team_metrics_max(Call& call) {
  const auto metric = call.target.param("metric");
  const bool rate = metric && *metric == "sandbox_start_rate";
  if (!rate && (!metric || *metric != "concurrent_sandboxes"))
    co_return failure(400, "validation error: query parameter metric: expected concurrent_sandboxes or sandbox_start_rate");
  auto samples = samples_of(call);
  if (samples.refused) co_return std::move(*samples.refused);
  UsageSample most{call.core.now_ms(), 0, 0};
  for (const UsageSample& one : samples.list)
    if (rate ? one.starts_per_s > most.starts_per_s : one.concurrent > most.concurrent) most = one;
  json::object out = timed(most.unix_ms);
  out["value"] = rate ? json::value(most.starts_per_s) : json::value(most.concurrent);
  co_return json_answer(200, out);
}

}  // namespace atl::control
