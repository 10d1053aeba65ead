#pragma once
#include <sys/resource.h>

#include <optional>
#include <string>
#include <vector>

#include "agent/process/pty.h"
#include "agent/reaper.h"
#include "agent/users.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace atl::agent {

struct SpawnPlan {
  std::vector<std::string> argv;  // at least the command, as it was asked for
  std::vector<std::string> env;   // NAME=value
  std::string search_path;        // PATH of that environment, for a command without a slash
  std::string cwd;                // absolute
  UserInfo user;
  bool stdin_pipe = true;  // false: /dev/null
  std::optional<TerminalSize> terminal;
  std::optional<rlimit> open_files;  // RLIMIT_NOFILE for the command
};

struct Spawned {
  pid_t pid = 0;
  UniqueFd in, out, err;  // the agent's ends, not blocking; in is absent without stdin_pipe
  UniqueFd terminal;      // instead of the three
};

// Starts the command in a session of its own, as its user, and returns when its program runs.
// Blocking (bounded by 10 s): call it on the pool. The child is known to the reaper; watch it.
// Errors: not_found (command or cwd missing), denied, invalid (no executable format, too many
// arguments), exhausted (processes, descriptors).
Result<Spawned> spawn_process(Reaper& reaper, const SpawnPlan& plan);

}  // namespace atl::agent
