#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/subprocess.h"
#include "base/task.h"

namespace atl::isolation {

enum class Tier : std::uint8_t { container, gvisor, microvm };
std::string_view name(Tier tier);
std::optional<Tier> parse_tier(std::string_view text);

// What a sandbox may use. All are enforced by the driver, or start fails.
struct Limits {
  std::int64_t vcpus = 2;                    // CPU quota in whole CPUs
  std::int64_t memory_bytes = 1024ll << 20;  // agent and, on gvisor, the sentry included
  std::int64_t pids = 1024;
  std::int64_t disk_bytes = 10ll << 30;      // the sandbox's own writes
  std::int64_t inodes = 1'000'000;
};

struct Spec {
  std::string id;                   // [a-z0-9]{1,64}
  std::string template_dir;         // what rootfs::Template::open takes
  Limits limits;
  std::uint32_t uid_base = 0;       // first host uid and gid of its range of 65536
  std::string hostname;
  std::string channel_dir;          // host folder with `channel.sock`, bound read-only at /run/atoll
  std::string agent_path;           // host path of the static atoll-agent, bound read-only at /run/atoll-agent
  std::string boot_config;          // JSON given to process 1 on standard input (see agent/boot_config.h)
  std::string log_path;             // host file that takes process 1's standard error (append)
};

// What isolation is really in force, read back from the kernel and the runtime after the start.
struct Receipt {
  json::object fields;  // tier, driver, runtime, runtimeVersion, kernel, namespaces, uidRange, seccompSha256,
                        // capabilities, mounts, limits, hostMitigations ...
};

struct Started {
  ProcessId init;       // container: process 1; gvisor: the sentry
  Receipt receipt;
};

struct Usage {
  std::int64_t cpu_usec = 0, memory_bytes = 0, memory_cache_bytes = 0, memory_limit_bytes = 0;
  std::int64_t disk_used_bytes = 0, disk_total_bytes = 0, pids = 0;
  std::int64_t oom_kills = 0, pids_refused = 0;  // since the start
};

struct Probe {
  bool works = false;
  bool slow = false;        // not at native speed: taken only by its name, never by `auto`
  std::string reason;       // why not, and the cure; or what was tried
  std::string runtime, version;
};

// The code that runs one tier through a real runtime. All calls may be made from the loop; the
// blocking work happens on the driver's pool. Calls for one id are serialised by the caller.
class Driver {
 public:
  virtual ~Driver() = default;
  virtual Tier tier() const = 0;
  // Finds out by starting a real, tiny sandbox, not by looking for files.
  virtual Task<Probe> probe() = 0;
  // Returns when process 1 runs. On failure nothing of the sandbox remains.
  virtual Task<Result<Started>> start(Spec spec) = 0;
  // Ends all processes, at once and for good; what else the sandbox holds (disk, cgroup, runtime
  // state) waits for destroy. Safe to repeat, and for ids never seen.
  virtual Task<Status> kill(std::string id) = 0;
  // Ends all processes, removes mounts, cgroups, disk, runtime state. Safe to repeat, for ids
  // never seen, and after a crash at any step of start or destroy.
  virtual Task<Status> destroy(std::string id) = 0;
  // After the node's restart: is this sandbox, started by an earlier process, still whole?
  // Errc::not_found when not; the caller then destroys it.
  virtual Task<Result<Started>> adopt(Spec spec, ProcessId init) = 0;
  // Ids of which anything is left on this host (runtime state, cgroup, disk), owned or not.
  virtual Task<std::vector<std::string>> leftovers() = 0;
  virtual Task<Result<Usage>> usage(std::string id) = 0;
};

}  // namespace atl::isolation
