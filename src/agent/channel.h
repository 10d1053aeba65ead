#pragma once
#include <functional>
#include <string>

#include "agent/context.h"
#include "rpc/message.h"

namespace atl::agent {

// The agent's side of its channel (docs/architecture.md): dials the socket, writes the preface,
// serves requests until the connection is lost, and dials again, for ever. Commands go on meanwhile.
Task<void> serve_channel(AgentContext& context, rpc::Handler handler);

}  // namespace atl::agent
