#pragma once
#include <memory>

#include "base/config.h"
#include "edge/registry.h"
#include "edge/route.h"
#include "rpc/message.h"

namespace atl::edge {

// One client request from its head to its end: routing, checks, forwarding.
class Proxy {
 public:
  static constexpr Millis kSyncWait{5000};     // for the node's list after the edge's start
  static constexpr Millis kChannelWait{3000};  // for an agent that dials again
  static constexpr int kDialTries = 5;         // of a user's port, 100 to 400 ms apart
  static constexpr Millis kDialDeadline{10'000};
  // A body that stands still. Input streams of commands (StreamInput) may rest as long as they like.
  static constexpr Millis kRestBodyIdle{10'000}, kFileBodyIdle{300'000}, kPortBodyIdle{620'000};

  Proxy(ChannelRegistry& registry, rpc::Client& api) : registry_(registry), api_(api) {}
  Task<void> handle(rpc::Exchange& exchange, const Door& door);

 private:
  Task<void> to_api(rpc::Exchange& exchange);
  Task<void> to_sandbox(rpc::Exchange& exchange, Route where, bool secure);
  Task<void> to_agent(rpc::Exchange& exchange, std::shared_ptr<LiveSandbox> sandbox);
  Task<void> to_port(rpc::Exchange& exchange, std::shared_ptr<LiveSandbox> sandbox, std::uint16_t port,
                     bool secure);
  // nullptr: the client has its answer already.
  Task<std::shared_ptr<LiveSandbox>> sandbox_of(rpc::Exchange& exchange, Route where);
  Task<Result<std::unique_ptr<rpc::ClientExchange>>> dial(std::shared_ptr<LiveSandbox> sandbox,
                                                          std::uint16_t port);

  ChannelRegistry& registry_;
  rpc::Client& api_;
};

// The request as a user's server sees it: Host masked where asked ("${PORT}" is the port), the
// original in X-Forwarded-Host, the client in X-Forwarded-For; the traffic token is left out. `secure`:
// it came by TLS.
rpc::RequestHead port_head(const rpc::RequestHead& request, const std::string& mask_host, std::uint16_t port,
                           const std::string& client, bool secure);

}  // namespace atl::edge
