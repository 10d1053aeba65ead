#include "node/channel_hub.h"
#include "node/journal.h"

// What the edge, perhaps taken over, may send to the node.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto packet = atl::node::parse_edge_packet({reinterpret_cast<const char*>(data), size});
  if (packet.ok() && !atl::node::valid_id(packet->id)) __builtin_trap();
  return 0;
}
