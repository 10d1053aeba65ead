#pragma once
#include <optional>
#include <string>
#include <vector>

#include "base/config.h"

namespace atl::atolld {

enum class Action { run, role, bootstrap, probe, tls_authority };

struct Invocation {
  Action action = Action::run;
  Config config;
  std::string role;  // of Action::role
  int parent = 0;    // the supervisor's pid; 0 = none
  int supervisor = -1;  // the edge's socket to the supervisor; -1 = none
  bool verbose = false;
  std::vector<std::string> config_arguments;  // as options, for the roles' command lines
};

// Reads atolld's command line (and the file of --config). nullopt: help was shown or the line is
// wrong; `exit_status` says which, and all has been printed.
std::optional<Invocation> parse_command_line(int argc, char** argv, int& exit_status);

}  // namespace atl::atolld
