#include "edge/supervisor_link.h"

#include "base/json.h"

namespace atl::edge {
namespace {

Status take_identity(UniqueFd memory, TlsDoor& door) {
  TRY(const tls::Identity identity, tls::from_memory(std::move(memory)));
  return door.use(identity);
}

void take(Packet packet, TlsDoor& door) {
  const auto value = parse_json(packet.bytes);
  const auto type = value.ok() ? JsonReader(*value).string("type", 32) : Result<std::string>(value.error());
  if (!type.ok() || !packet.fd.valid()) {
    log_warn("bad packet of the supervisor");
  } else if (*type == "listener") {
    door.listen(std::move(packet.fd));
  } else if (*type == "identity") {
    const auto used = take_identity(std::move(packet.fd), door);
    if (used.ok())
      log_info("certificate in use for new connections");
    else
      log_error("certificate refused; the one before stays in use, where there is one",
                {{"error", used.error().message}});
  }
}

}  // namespace

Task<void> follow_supervisor(std::shared_ptr<PacketSocket> link, TlsDoor& door) {
  for (;;) {
    auto got = co_await link->receive();
    if (!got.ok()) log_warn("the supervisor's packets cannot be read", {{"error", got.error().message}});
    if (!got.ok() || !got->has_value()) co_return;
    take(std::move(**got), door);
  }
}

}  // namespace atl::edge
