#pragma once
#include <memory>
#include <vector>

#include "base/config.h"
#include "isolation/driver.h"

namespace atl::node {

// The node's process: drivers, journal, node.sock and channels.sock, until SIGTERM or SIGINT.
// Sandboxes live on, and the next node adopts them. SIGUSR1 ends all sandboxes first, then the
// process. Returns the exit status.
int run_node(const Config& config);

}  // namespace atl::node
