#pragma once
#include "base/config.h"

namespace atl::edge {

// The edge's process: the listener for clients and the channels of agents, until SIGTERM or
// SIGINT. Returns the exit status.
int run_edge(const Config& config);

}  // namespace atl::edge
