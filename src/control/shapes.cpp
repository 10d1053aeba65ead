#include "control/shapes.h"

#include "control/ids.h"
#include "control/time_text.h"

namespace atl::control {
namespace {

json::value receipt_of(const store::Sandbox& row) {
  if (row.receipt_json.empty()) return nullptr;
  auto parsed = parse_json(row.receipt_json);
  return parsed.ok() ? std::move(*parsed) : json::value(nullptr);
}

json::object metadata_of(const store::Sandbox& row) {
  json::object out;
  for (const auto& [key, value] : row.metadata) out[key] = value;
  return out;
}

json::array strings(const std::vector<std::string>& list) {
  json::array out;
  for (const std::string& item : list) out.emplace_back(item);
  return out;
}

json::value time_or_null(std::int64_t ms) { return ms > 0 ? json::value(rfc3339(ms)) : json::value(nullptr); }

// What create, detail and list have in common.
json::object common(const store::Sandbox& row) {
  json::object out;
  out["templateID"] = row.template_id;
  out["alias"] = row.template_name;
  out["sandboxID"] = row.id;
  out["clientID"] = kClientId;
  out["envdVersion"] = kEnvdVersion;
  return out;
}

json::object network_of(const store::Sandbox& row) {
  json::object out;
  out["allowPublicTraffic"] = row.public_traffic;
  if (!row.deny_out.empty()) out["denyOut"] = strings(row.deny_out);
  if (!row.mask_request_host.empty()) out["maskRequestHost"] = row.mask_request_host;
  return out;
}

}  // namespace

json::object atoll_shape(const store::Sandbox& row, bool with_receipt) {
  json::object out;
  out["tier"] = row.tier;
  out["state"] = store::name(row.state);
  out["endReason"] = row.end_reason.empty() ? json::value(nullptr) : json::value(row.end_reason);
  out["endedAt"] = time_or_null(row.ended_ms);
  out["oomKills"] = row.oom_kills;
  out["pidsRefused"] = row.pids_refused;
  out["diskFullSeen"] = row.disk_full_seen;
  if (with_receipt) out["receipt"] = receipt_of(row);
  return out;
}

json::object sandbox_shape(const Core& core, const store::Sandbox& row) {
  json::object out = common(row);
  out["domain"] = core.options.domain ? json::value(*core.options.domain) : json::value(nullptr);
  if (row.secure) out["envdAccessToken"] = access_token_of(core.options.seed, row.id);
  out["trafficAccessToken"] =
      row.public_traffic ? json::value(nullptr) : json::value(traffic_token_of(core.options.seed, row.id));
  json::object atoll;
  atoll["tier"] = row.tier;
  atoll["state"] = store::name(store::State::running);
  atoll["receipt"] = receipt_of(row);
  out["atoll"] = std::move(atoll);
  return out;
}

json::object listed_shape(const store::Sandbox& row) {
  json::object out = common(row);
  out["startedAt"] = rfc3339(row.started_ms);
  out["endAt"] = rfc3339(row.end_ms);
  out["cpuCount"] = row.vcpus;
  out["memoryMB"] = row.memory_mb;
  out["diskSizeMB"] = row.disk_mb;
  out["metadata"] = metadata_of(row);
  out["state"] = "running";
  out["volumeMounts"] = json::array();
  out["atoll"] = atoll_shape(row, false);
  return out;
}

json::object detail_shape(const Core& core, const store::Sandbox& row) {
  json::object out = listed_shape(row);
  if (row.secure) out["envdAccessToken"] = access_token_of(core.options.seed, row.id);
  if (!row.public_traffic) out["trafficAccessToken"] = traffic_token_of(core.options.seed, row.id);
  out["domain"] = core.options.domain ? json::value(*core.options.domain) : json::value(nullptr);
  out["allowInternetAccess"] = false;  // whatever was asked: nothing is reachable
  out["network"] = network_of(row);
  json::object lifecycle;
  lifecycle["autoResume"] = false;
  lifecycle["onTimeout"] = "kill";
  out["lifecycle"] = std::move(lifecycle);
  out["atoll"] = atoll_shape(row, true);
  return out;
}

json::object metric_shape(const pb::Sample& sample) {
  json::object out;
  out["timestamp"] = rfc3339(sample.unix_ms());
  out["timestampUnix"] = sample.unix_ms() / 1000;
  out["cpuCount"] = sample.vcpus();
  out["cpuUsedPct"] = sample.cpu_used_pct();
  out["memUsed"] = sample.memory_used_bytes();
  out["memTotal"] = sample.memory_total_bytes();
  out["memCache"] = sample.memory_cache_bytes();
  out["diskUsed"] = sample.disk_used_bytes();
  out["diskTotal"] = sample.disk_total_bytes();
  return out;
}

namespace {

json::object template_common(const Core& core, const Template& one) {
  const auto use = core.uses.find(one.id);
  std::vector<std::string> names;
  names.push_back(one.name);
  json::object out;
  out["templateID"] = one.id;
  out["public"] = true;  // every project of this host may use it
  out["aliases"] = strings(names);
  out["names"] = strings(names);
  out["createdAt"] = rfc3339(one.created_ms);
  out["updatedAt"] = rfc3339(one.created_ms);
  out["lastSpawnedAt"] = time_or_null(use == core.uses.end() ? 0 : use->second.last_ms);
  out["spawnCount"] = use == core.uses.end() ? 0 : use->second.spawned;
  return out;
}

void add_build(json::object& out, const Template& one) {
  out["buildID"] = one.build_id;
  out["cpuCount"] = one.vcpus;
  out["memoryMB"] = one.memory_mb;
  out["diskSizeMB"] = one.disk_mb;
  out["envdVersion"] = kEnvdVersion;
}

}  // namespace

json::object template_shape(const Core& core, const Template& one) {
  json::object out = template_common(core, one);
  add_build(out, one);
  out["buildCount"] = 1;
  out["buildStatus"] = "ready";
  out["createdBy"] = nullptr;
  json::object atoll;
  atoll["tier"] = one.tier.empty() ? "auto" : one.tier;
  out["atoll"] = std::move(atoll);
  return out;
}

json::object own_template_shape(const Template& one) {
  json::object out;
  out["name"] = one.name;
  out["templateID"] = one.id;
  out["buildID"] = one.build_id;
  out["tier"] = one.tier.empty() ? "auto" : one.tier;
  out["cpuCount"] = one.vcpus;
  out["memoryMB"] = one.memory_mb;
  out["diskSizeMB"] = one.disk_mb;
  out["createdAt"] = time_or_null(one.created_ms);
  return out;
}

json::object template_with_builds_shape(const Core& core, const Template& one) {
  json::object out = template_common(core, one);
  json::object build;
  add_build(build, one);
  build["status"] = "ready";
  build["createdAt"] = build["updatedAt"] = build["finishedAt"] = rfc3339(one.created_ms);
  json::array builds;
  builds.emplace_back(std::move(build));
  out["builds"] = std::move(builds);
  return out;
}

json::object key_shape(const store::ApiKey& key) {
  json::object mask;
  mask["prefix"] = key.mask.prefix;
  mask["valueLength"] = key.mask.value_length;
  mask["maskedValuePrefix"] = key.mask.value_prefix;
  mask["maskedValueSuffix"] = key.mask.value_suffix;
  json::object out;
  out["id"] = key.id;
  out["name"] = key.name;
  out["mask"] = std::move(mask);
  out["createdAt"] = rfc3339(key.created_ms);
  out["createdBy"] = nullptr;
  out["lastUsed"] = time_or_null(key.last_used_ms);
  return out;
}

}  // namespace atl::control
