#pragma once
#include <optional>
#include <string>

namespace atl::agent {

// How a process ended, in the words that E2B's clients parse: {n, true, "exit status n"} with the
// same text as error where n is not 0, or {-1, false, "signal: killed"}.
struct ExitReport {
  int exit_code = 0;
  bool exited = false;
  std::string status;
  std::optional<std::string> error;
};

// From the status of waitpid(2).
ExitReport exit_report(int wait_status);

}  // namespace atl::agent
