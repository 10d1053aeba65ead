#include "edge/packets.h"

#include "base/json.h"
#include "edge/route.h"

namespace atl::edge {
namespace {

Result<std::string> id_of(const JsonReader& reader) {
  TRY(std::string id, reader.string("id", 64));
  const auto parsed = parse_sandbox_id(id);
  if (!parsed || *parsed != id) return make_error(Errc::invalid, "id: not [a-z0-9]{1,64}");
  return id;
}

std::string of(std::string_view type, const std::string& id) {
  return json::serialize(json::object{{"type", type}, {"id", id}});
}

}  // namespace

Result<NodePacket> parse_node_packet(std::string_view text) {
  TRY(json::value value, parse_json(text));
  JsonReader reader(value);
  CHECK_OK(reader.require_object());
  TRY(std::string type, reader.string("type", 32));
  NodePacket out;
  if (type == "synced") return out;
  if (type == "channel")
    out.type = NodePacket::Type::channel;
  else if (type == "gone")
    out.type = NodePacket::Type::gone;
  else if (type == "sandbox")
    out.type = NodePacket::Type::sandbox;
  else
    return make_error(Errc::invalid, "type: sandbox, synced, channel or gone expected");
  TRY(out.id, id_of(reader));
  if (out.type != NodePacket::Type::sandbox) return out;
  TRY(out.boot_token, reader.string("bootToken", 64));
  TRY(out.access_token, reader.string("accessToken", 1024));
  TRY(out.traffic_token, reader.string("trafficToken", 1024));
  TRY(out.mask_request_host, reader.string("maskRequestHost", 1024));
  if (out.boot_token.size() != 64) return make_error(Errc::invalid, "bootToken: 64 characters expected");
  return out;
}

std::string ready_packet(const std::string& id) {
  return of("ready", id);
}
std::string lost_packet(const std::string& id) {
  return of("lost", id);
}
std::string refused_packet(const std::string& id, const std::string& reason) {
  return json::serialize(json::object{{"type", "refused"}, {"id", id}, {"reason", reason}});
}

}  // namespace atl::edge
