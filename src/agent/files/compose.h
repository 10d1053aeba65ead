#pragma once
#include "agent/context.h"
#include "rpc/message.h"

namespace atl::agent {

// POST /files/compose {"source_paths":[...],"destination","username"}: joins the sources in order
// under a temporary name beside the destination, renames that over it, then removes the sources. A
// failure before the rename leaves everything as it was. Bounds: 1 MiB of JSON, 10000 sources.
Task<void> compose(AgentContext& context, rpc::Exchange& exchange);

}  // namespace atl::agent
