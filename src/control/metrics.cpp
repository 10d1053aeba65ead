#include "control/ids.h"
#include "control/routes.h"
#include "control/shapes.h"

namespace atl::control {
namespace {

constexpr std::size_t kIdsMax = 100;
constexpr std::int64_t kLatestS = 253'402'300'799;  // the end of the year 9999

Result<std::vector<std::string>> split_ids(std::string_view csv) {
  std::vector<std::string> out;
  while (!csv.empty()) {
    const auto comma = csv.find(',');
    const std::string_view part = csv.substr(0, comma);
    csv.remove_prefix(comma == std::string_view::npos ? csv.size() : comma + 1);
    if (part.empty()) continue;
    if (out.size() == kIdsMax) return make_error(Errc::invalid, "query parameter sandbox_ids: more than 100 ids");
    auto id = sandbox_id_of(part);
    if (id) out.push_back(std::move(*id));
  }
  return out;
}

}  // namespace

Task<Answer> get_metrics(Call& call) {
  const auto start = query_int(call.target, "start", 0, 0, kLatestS);
  if (!start.ok()) co_return invalid(start.error());
  const auto end = query_int(call.target, "end", 0, 0, kLatestS);
  if (!end.ok()) co_return invalid(end.error());
  const Found found = known_sandbox(call);
  if (!found.entry) co_return found.missing;
  pb::UsageRequest request;
  request.add_ids(found.entry->row.id);
  request.set_from_unix_ms(*start * 1000);
  // The whole of the last second.
  if (*end > 0) request.set_to_unix_ms(*end * 1000 + 999);
  const auto usage = co_await call.core.node.usage(std::move(request));
  if (!usage.ok()) co_return failure(usage.error());
  json::array out;
  for (const auto& one : usage->sandboxes())
    for (const auto& sample : one.samples()) out.emplace_back(metric_shape(sample));
  co_return json_answer(200, out);
}

Task<Answer> list_metrics(Call& call) {
  const auto csv = call.target.param("sandbox_ids");
  if (!csv) co_return failure(400, "validation error: query parameter sandbox_ids: missing, ids joined by commas are required");
  const auto ids = split_ids(*csv);
  if (!ids.ok()) co_return invalid(ids.error());
  pb::UsageRequest request;
  request.set_last_only(true);
  for (const std::string& id : *ids) {
    const EntryPtr entry = call.core.index.find(call.project.id, id);
    if (entry && entry->row.state == store::State::running) request.add_ids(id);
  }
  json::object metrics;
  if (request.ids_size() > 0) {
    const auto usage = co_await call.core.node.usage(std::move(request));
    if (!usage.ok()) co_return failure(usage.error());
    for (const auto& one : usage->sandboxes())
      if (one.samples_size() > 0) metrics[one.id()] = metric_shape(one.samples(one.samples_size() - 1));
  }
  json::object out;
  out["sandboxes"] = std::move(metrics);
  co_return json_answer(200, out);
}

}  // namespace atl::control
