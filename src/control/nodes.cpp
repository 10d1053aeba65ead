#include "base/crypto.h"
#include "control/routes.h"
#include "control/time_text.h"

namespace atl::control {
namespace {

constexpr std::string_view kClusterId = "00000000-0000-0000-0000-000000000000";  // this host alone is the cluster

// The same for as long as the api's seed is; it tells nothing of it.
std::string node_id(const Core& core) { return hmac_sha256_hex(core.options.seed, "node id").substr(0, 16); }

json::object disk_shape(const DiskFacts& disk) {
  json::object out;
  out["mountPoint"] = disk.mount_point;
  out["device"] = disk.device;
  out["filesystemType"] = disk.fs_type;
  out["usedBytes"] = disk.used_bytes;
  out["totalBytes"] = disk.total_bytes;
  return out;
}

json::object metrics_shape(const HostFacts& host, const CpuTimes& before, const Use& use) {
  json::object out;
  out["allocatedCPU"] = use.vcpus;
  out["cpuPercent"] = cpu_percent(before, host.cpu);
  out["cpuCount"] = host.cpu_count;
  out["allocatedMemoryBytes"] = use.memory_mb << 20;
  out["memoryUsedBytes"] = host.memory_used_bytes;
  out["memoryTotalBytes"] = host.memory_total_bytes;
  out["hugePagesTotal"] = host.huge_pages_total;
  out["hugePagesUsed"] = host.huge_pages_used;
  out["hugePagesReserved"] = host.huge_pages_reserved;
  out["hugePageSizeBytes"] = host.huge_page_size_bytes;
  json::array disks;
  for (const DiskFacts& disk : host.disks) disks.emplace_back(disk_shape(disk));
  out["disks"] = std::move(disks);
  return out;
}

// Sums over all projects of this host, as any key may see them; no name or id of anything in it.
Task<json::object> node_shape(Core& core) {
  auto read = [dir = core.options.templates_dir] { return read_host_facts(dir); };
  const HostFacts host = co_await run_blocking(core.file_pool, std::move(read));
  const Use use = core.index.use_of_all();
  const std::int64_t running = core.index.running_of_all();
  json::object machine;
  machine["cpuFamily"] = host.cpu_family;
  machine["cpuModel"] = host.cpu_model;
  machine["cpuModelName"] = host.cpu_model_name;
  machine["cpuArchitecture"] = host.cpu_architecture;
  json::object out;
  out["id"] = node_id(core);
  out["serviceInstanceID"] = core.service_id;
  out["clusterID"] = kClusterId;
  out["version"] = core.options.version;
  out["commit"] = "";  // builds do not record it
  out["machineInfo"] = std::move(machine);
  out["status"] = core.node_connected ? "ready" : core.synced ? "unhealthy" : "connecting";
  out["statusChangedAt"] = rfc3339(core.node_changed_ms);
  out["sandboxCount"] = running;
  out["metrics"] = metrics_shape(host, core.cpu_before, use);
  out["createSuccesses"] = core.creates_done;
  out["createFails"] = core.creates_failed;
  out["sandboxStartingCount"] = use.sandboxes - running;
  co_return out;
}

bool other_cluster(const Call& call) {
  const auto cluster = call.target.param("clusterID");
  return cluster && !cluster->empty() && *cluster != kClusterId;
}

}  // namespace

Task<Answer> list_nodes(Call& call) {
  json::array out;
  if (!other_cluster(call)) out.emplace_back(co_await node_shape(call.core));
  co_return json_answer(200, out);
}

Task<Answer> get_node(Call& call) {
  if (other_cluster(call) || call.params.at(0) != node_id(call.core)) co_return failure(404, "the node was not found; GET /nodes lists them");
  json::object out = co_await node_shape(call.core);
  json::array builds;
  for (const Template& one : call.core.templates.all()) builds.emplace_back(one.build_id);
  out["cachedBuilds"] = std::move(builds);
  co_return json_answer(200, out);
}

}  // namespace atl::control
