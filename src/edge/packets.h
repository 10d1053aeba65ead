#pragma once
#include <string>
#include <string_view>

#include "base/result.h"

namespace atl::edge {

// One packet of the node on channels.sock (docs/architecture.md, "node -> edge").
struct NodePacket {
  enum class Type { sandbox, synced, channel, gone } type = Type::synced;
  std::string id;
  std::string boot_token, access_token, traffic_token, mask_request_host;  // of `sandbox`
};
// Errc::invalid names the field, never a value: they are secrets. Unknown types are refused.
Result<NodePacket> parse_node_packet(std::string_view text);

std::string ready_packet(const std::string& id);
std::string refused_packet(const std::string& id, const std::string& reason);
std::string lost_packet(const std::string& id);

}  // namespace atl::edge
