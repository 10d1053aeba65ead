#include "control/ids.h"
#include "control/routes.h"
#include "control/shapes.h"
#include "control/time_text.h"

namespace atl::control {
namespace {

json::object quota_shape(const store::Quota& quota) {
  json::object out;
  out["sandboxes"] = quota.sandboxes;
  out["vcpus"] = quota.vcpus;
  out["memoryMB"] = quota.memory_mb;
  out["createsPerMinute"] = quota.creates_per_minute;
  return out;
}

}  // namespace

Task<Answer> health(Call&) { co_return no_content(); }

Task<Answer> tiers(Call& call) {
  const auto list = co_await call.core.node.tiers();
  if (!list.ok()) co_return failure(list.error());
  json::array all;
  for (const auto& tier : list->tiers()) {
    json::object one;
    one["name"] = tier.name();
    one["works"] = tier.works();
    one["reason"] = tier.reason();
    one["runtime"] = tier.runtime();
    one["version"] = tier.version();
    one["posture"] = tier.posture();
    one["auto"] = tier.is_auto();
    all.emplace_back(std::move(one));
  }
  json::object out;
  out["tiers"] = std::move(all);
  co_return json_answer(200, out);
}

// Numbers of the caller's project alone.
Task<Answer> status(Call& call) {
  const Core& core = call.core;
  const Use use = core.index.use(call.project.id);
  json::object roles;
  roles["api"] = "running";
  roles["node"] = core.node_connected ? "connected" : "unreachable";
  json::object sandboxes;
  sandboxes["running"] = core.index.running(call.project.id);
  sandboxes["counted"] = use.sandboxes;
  sandboxes["vcpus"] = use.vcpus;
  sandboxes["memoryMB"] = use.memory_mb;
  json::object project;
  project["id"] = call.project.id;
  project["name"] = call.project.name;
  project["quota"] = quota_shape(call.project.quota);
  json::object out;
  out["version"] = core.options.version;
  out["envdVersion"] = kEnvdVersion;
  out["roles"] = std::move(roles);
  out["sandboxes"] = std::move(sandboxes);
  out["templates"] = core.templates.all().size();
  out["project"] = std::move(project);
  co_return json_answer(200, out);
}

Task<Answer> own_templates(Call& call) {
  json::array all;
  for (const Template& one : call.core.templates.all()) all.emplace_back(own_template_shape(one));
  json::object out;
  out["templates"] = std::move(all);
  co_return json_answer(200, out);
}

Task<Answer> get_receipt(Call& call) {
  const Found found = known_sandbox(call);
  if (!found.entry) co_return found.missing;
  const store::Sandbox& row = found.entry->row;
  json::object out = atoll_shape(row, true);
  out["sandboxID"] = row.id;
  out["templateID"] = row.template_id;
  out["startedAt"] = rfc3339(row.started_ms);
  out["endAt"] = rfc3339(row.end_ms);
  co_return json_answer(200, out);
}

}  // namespace atl::control
