#pragma once
#include <cstdint>
#include <optional>
#include <string_view>

#include "base/task.h"
#include "rpc/message.h"

namespace atl::agent {

// The port of a CONNECT's authority, which must be "127.0.0.1:PORT": the edge reaches the
// sandbox's own listeners through the agent, nothing else.
std::optional<std::uint16_t> tunnel_port(std::string_view authority);

// Connects to that port inside (127.0.0.1, then ::1) and relays bytes both ways until both have
// ended; the end of one way is passed on alone. 502 {"code","message","port"} when nobody listens.
Task<void> handle_tunnel(rpc::Exchange& exchange);

}  // namespace atl::agent
