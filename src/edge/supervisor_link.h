#pragma once
#include "base/packet_socket.h"
#include "edge/tls_door.h"

namespace atl::edge {

// What the supervisor, which is root, passes to this role, which is not: one packet each with one
// descriptor. {"type":"listener"}: the bound socket of domain mode. {"type":"identity"}: certificates and
// key in memory, again whenever they change. Returns when the supervisor is gone.
Task<void> follow_supervisor(std::shared_ptr<PacketSocket> link, TlsDoor& door);

}  // namespace atl::edge
