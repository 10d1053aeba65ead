#pragma once
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "isolation/cgroup/layout.h"
#include "isolation/driver.h"

namespace atl::isolation::cgroup {

// What a sandbox's cgroups say of it.
struct Counters {
  std::int64_t cpu_usec = 0, memory_bytes = 0, memory_cache_bytes = 0, pids = 0;
  std::int64_t oom_kills = 0, pids_refused = 0;
};

// What the kernel says the limits are. swap_bytes is what may be swapped beyond memory_bytes;
// -1 = the kernel does not account for swap.
struct InForce {
  std::int64_t memory_bytes = 0, swap_bytes = -1, pids = 0;
  double cpus = 0;
};

// The cgroups of one sandbox: one folder on v2, one in each hierarchy on v1. A value that names
// folders; it owns nothing, so that a later process can name the same ones. Calls block.
class Group {
 public:
  Group(Version version, std::map<std::string, std::string> folders)
      : version_(version), folders_(std::move(folders)) {}

  // Makes the folders and sets the limits, then reads them back: Errc::unsupported when the kernel
  // did not take one exactly.
  Status create(const Limits& limits) const;
  // For Command::join_cgroup_fds: files into which a process of one thread writes "0" to join.
  Result<std::vector<UniqueFd>> join_fds() const;
  bool exists() const;
  Result<InForce> in_force() const;
  Result<Counters> counters() const;
  // SIGKILL to every process in it, again until none is left; Errc::deadline after `within_ms`.
  Status kill_all(int within_ms) const;
  // Removes the folders. Missing ones are fine.
  Status remove(int within_ms) const;
  // Every process in any of the folders.
  std::vector<pid_t> processes() const;
  const std::map<std::string, std::string>& folders() const { return folders_; }

 private:
  Status set_v1(const Limits& limits) const;
  Status set_v2(const Limits& limits) const;
  Status verify(const Limits& limits) const;
  Status freeze(bool frozen, int within_ms) const;
  // Folders without repeats (two v1 controllers may share one).
  std::vector<std::string> distinct() const;
  std::string file(const std::string& controller, const std::string& name) const;

  Version version_;
  std::map<std::string, std::string> folders_;  // controller -> folder; v2: "" -> folder
};

// The folder below which an instance's groups lie: atoll-<instance>, made ready for use.
class Parent {
 public:
  // Looks at this host and makes the parent. v1: at the root of each hierarchy that is visible.
  // v2: below this process's own group where it was delegated (systemd's Delegate=), else at the
  // root; enables the controllers on the way, and where the kernel's rule against processes in
  // inner groups is in the way, moves those processes into a leaf `atoll-host`.
  static Result<Parent> open(const std::string& instance);
  // The same for a layout that is already known; `own_v2` as parse_own_v2_group gives it.
  static Result<Parent> open(const std::string& instance, const Layout& layout, const std::string& own_v2);

  Group group(const std::string& id) const;
  std::vector<std::string> ids() const;  // sandboxes that have a group
  const Layout& layout() const { return layout_; }
  // Removes the parent itself when no group is left in it.
  void remove_if_empty() const;

 private:
  Layout layout_;
  std::map<std::string, std::string> folders_;
};

}  // namespace atl::isolation::cgroup
