#pragma once
#include <string>
#include <vector>

#include "base/subprocess.h"

namespace atl::isolation {

// A program that is nobody's child: in a session of its own, adopted by the host's init, so that it
// outlives its starter. It inherits the orphans among its descendants (PR_SET_CHILD_SUBREAPER), so
// that all of them are found below it.
struct Detached {
  std::vector<std::string> argv;  // argv[0] is an absolute path
  std::vector<std::string> env;   // NAME=value; nothing is inherited
  int in = -1, out = -1, err = -1;  // borrowed
};
// The name (/proc/PID/comm) of processes that are forked but not yet executed, from their first
// moment: such a one may outlive a starter that was killed, and then become the program.
inline constexpr char kStartingName[] = "atoll-starting";

// Returns once it has been executed. Blocks for a moment.
Result<ProcessId> start_detached(const Detached& program);

}  // namespace atl::isolation
