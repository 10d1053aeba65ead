#pragma once
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "agent/context.h"

namespace atl::agent {

// Where the kernel's files lie; a parameter for tests.
struct MetricsRoots {
  std::string cgroup = "/sys/fs/cgroup";
  std::string proc = "/proc";
  std::string disk = "/";
};

struct Sample {
  std::int64_t cpu_usec = 0;  // used by the whole sandbox since its start
  std::int64_t memory_used = 0, memory_cache = 0;
};

// The sandbox's use: from its cgroup's files (v2, else v1) where they are visible, else summed over
// the processes of /proc, since /proc/stat and /proc/meminfo of a container are the host's. Blocking.
Sample take_sample(const MetricsRoots& roots);

// GET /metrics. CPU use is of the time since the request before (at least kLeastSpan, else the
// earlier answer stands); the first request looks back to the agent's start.
class Metrics {
 public:
  static constexpr std::chrono::milliseconds kLeastSpan{500};

  Metrics(AgentContext& context, MetricsRoots roots);
  // The JSON body.
  Task<std::string> report();

 private:
  double cpu_percent(std::int64_t cpu_usec, std::chrono::steady_clock::time_point now, std::int64_t cpus);

  AgentContext& context_;
  MetricsRoots roots_;
  std::int64_t last_cpu_usec_ = 0;
  std::chrono::steady_clock::time_point last_at_;
  double last_percent_ = 0;
};

}  // namespace atl::agent
