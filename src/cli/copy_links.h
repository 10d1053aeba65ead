#pragma once
#include <string>
#include <string_view>

#include "cli/agent_client.h"

namespace atl::cli {

// Whether a link, `depth` folders below the top of a copied tree, can only lead to somewhere in that
// tree: a relative target with ".." at its beginning alone, and not more of them than `depth`. (One
// further behind could climb out of a folder that is itself a link.)
bool stays_inside(std::string_view target, int depth);

// By programs inside, since the files' protocol can neither make links nor tell a link's own text.
// Errors are the user's to read; Errc::unavailable means that the daemon or the sandbox is gone.
Task<Result<std::string>> read_remote_link(AgentClient& agent, std::string path);
Task<Status> make_remote_link(AgentClient& agent, std::string target, std::string path);

}  // namespace atl::cli
