#pragma once
#include "base/config.h"
#include "base/unique_fd.h"

namespace atl::edge {

// The edge's process: the listeners for clients and the channels of agents, until SIGTERM or SIGINT.
// `supervisor` carries what only root can get (see supervisor_link.h); not valid = no domain mode.
// Returns the exit status.
int run_edge(const Config& config, UniqueFd supervisor);

}  // namespace atl::edge
