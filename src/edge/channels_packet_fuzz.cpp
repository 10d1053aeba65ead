#include "edge/packets.h"
#include "edge/route.h"

// What arrives on channels.sock.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto packet = atl::edge::parse_node_packet({reinterpret_cast<const char*>(data), size});
  if (packet.ok() && packet->type != atl::edge::NodePacket::Type::synced &&
      atl::edge::parse_sandbox_id(packet->id) != packet->id)
    __builtin_trap();
  return 0;
}
