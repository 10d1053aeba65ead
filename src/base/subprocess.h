#pragma once
#include <sys/types.h>

#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace atl {

// The one way to run an external program. Blocking: call it on a pool thread.
struct Command {
  std::vector<std::string> argv;              // argv[0] is an absolute path
  std::vector<std::string> env;               // NAME=value; nothing is inherited
  std::string stdin_data;                     // written to its standard input, which is then closed
  int stdin_fd = -1;                          // instead of stdin_data: borrowed
  int stdout_fd = -1, stderr_fd = -1;         // instead of capturing: borrowed
  std::vector<int> inherit_fds;               // kept open under the same numbers: borrowed
  int timeout_ms = 30'000;                    // then SIGKILL to its process group
  std::size_t output_bytes_max = 64 * 1024;   // captured of each stream; the rest is dropped
  // Files that the child writes "0" into before exec (cgroup.procs of each hierarchy): borrowed fds.
  std::vector<int> join_cgroup_fds;
};
struct Finished {
  int exit_code = -1;  // 128 + signal where a signal ended it
  std::string out, err;
};

// Errc::deadline on time-out; Errc::not_found where argv[0] is missing. Standard output is read
// until the program *exits*, not to its end of file: a daemon it leaves behind may hold the pipe.
Result<Finished> run(const Command& command);
// The same, and a non-zero exit is Errc::internal with "argv[0] ... exit N: <stderr>".
Result<std::string> run_ok(const Command& command);

// pid with its start time (/proc/PID/stat field 22), so that a reused number is never signalled.
struct ProcessId {
  pid_t pid = 0;
  std::uint64_t start_time = 0;
  auto operator<=>(const ProcessId&) const = default;
};
Result<ProcessId> identify(pid_t pid);
bool is_alive(const ProcessId& process);  // a zombie is not
// A pidfd of exactly that process; Errc::not_found when it is gone. Polls readable at its end.
Result<UniqueFd> open_process(const ProcessId& process);

}  // namespace atl
