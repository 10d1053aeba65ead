#pragma once
#include <memory>
#include <string>
#include <vector>

#include "cli/agent_client.h"

namespace atl::cli {

struct QuietResult {
  int exit_code = 0;
  std::string errors;  // the first 4 KiB of standard error: hostile bytes
};

// A small command inside whose output nobody sees (chmod, ln).
Task<Result<QuietResult>> run_quiet(AgentClient& agent, std::vector<std::string> argv);

}  // namespace atl::cli
