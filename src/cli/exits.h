#pragma once
#include <string_view>

#include "base/result.h"

namespace atl::cli {

// What atoll exits with; `atoll help` prints the same table. run, exec and shell give the
// command's own code, and for what is not the command's the numbers that docker and podman use.
enum Exit : int {
  kExitOk = 0,
  kExitOther = 1,
  kExitUsage = 2,
  kExitNotFound = 3,
  kExitAuth = 4,
  kExitUnreachable = 5,
  kExitTimeout = 124,       // its --timeout ended it
  kExitAtoll = 125,         // Atoll failed, not the command
  kExitCannotInvoke = 126,  // not executable, no such user or folder
  kExitNoCommand = 127,
};

// Of every command but run, exec and shell.
int exit_code_for(const Error& error);

// Of a command that the agent could not start: 126 or 127; 125 where it is no matter of the command.
int exit_code_of_start(const Error& error);

// What a shell would report for a command that ended so: its own code, or 128 + the signal's
// number where `status` is the agent's "signal: killed"; 255 for a signal that has no name here.
int exit_code_of_process(int exit_code, bool exited, std::string_view status);

}  // namespace atl::cli
