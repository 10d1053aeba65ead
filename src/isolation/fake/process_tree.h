#pragma once
#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace atl::isolation {

// `root` and all processes below it, as /proc shows them now.
std::vector<pid_t> process_tree(pid_t root);

struct TreeUse {
  std::int64_t cpu_usec = 0, memory_bytes = 0, processes = 0;
};
TreeUse use_of(const std::vector<pid_t>& tree);

// Ends the whole tree. The root is stopped meanwhile, so that orphans stay below it. It must be a
// subreaper. Errc::deadline when some live on after `within_ms`.
Status kill_tree(pid_t root, int within_ms);

// Waits until no process (of any user) has that name. Errc::deadline after `within_ms`.
Status await_none_named(const std::string& name, int within_ms);

struct Marked {
  pid_t pid = 0;
  std::string mark;
};
// All whose second argument begins with `prefix`.
std::vector<Marked> find_marked(const std::string& prefix);

}  // namespace atl::isolation
