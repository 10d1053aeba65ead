#pragma once
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace atl::isolation::cgroup {

enum class Version { v1, v2 };

// Where this host's cgroup hierarchies are mounted, as /proc/self/mountinfo says. On a hybrid host
// (both kinds) the controllers that Atoll needs are on v1.
struct Layout {
  Version version = Version::v2;
  std::string unified;                         // v2: its mount point
  std::map<std::string, std::string> v1;       // v1: controller -> mount point; two may share one
  bool hybrid_unified = false;                 // a v2 hierarchy is mounted beside v1
};

// v1's controllers without which limits or the end of a sandbox cannot be enforced.
inline constexpr std::string_view kV1Needed[] = {"memory", "cpu", "cpuacct", "pids", "freezer"};

// Of the text of mountinfo. Errc::unsupported says which controllers are missing.
Result<Layout> parse_layout(std::string_view mountinfo);

// A mount point as mountinfo writes it, with \040 and the like decoded.
std::string decode_mount_path(std::string_view text);

// Of the text of /proc/self/cgroup: this process's group below the v2 mount, e.g. "/system.slice/x".
std::optional<std::string> parse_own_v2_group(std::string_view proc_cgroup);

}  // namespace atl::isolation::cgroup
