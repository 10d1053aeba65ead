#pragma once
#include <memory>
#include <string>
#include <vector>

#include "cli/agent_client.h"

namespace atl::cli {

struct QuietResult {
  int exit_code = 0;
  std::string output, errors;  // the first 4 KiB of each: hostile bytes
};

// A small command inside whose output nobody sees (chmod, ln, readlink). It runs in the user's home,
// as paths of the files' protocol are taken, where one of `paths` is relative.
Task<Result<QuietResult>> run_quiet(AgentClient& agent, std::vector<std::string> argv,
                                    const std::vector<std::string>& paths);

}  // namespace atl::cli
