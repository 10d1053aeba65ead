#pragma once
#include <memory>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/task.h"
#include "control/node_client.h"
#include "rpc/message.h"
#include "store/store.h"

namespace atl::control {

struct ApiOptions {
  std::string seed;                   // 32 random bytes; sandboxes' tokens are derived from it
  std::string templates_dir;
  std::optional<std::string> domain;  // replaces the clients' own; nullopt = they keep theirs
  std::string version = "0.1.0";
  Millis first_sync{10'000};          // start() waits so long for the node
  Millis keep_ended{24 * 3600 * 1000ll};
  std::size_t ended_max = 4096;       // kept in memory and store, the newest
};

struct Core;
class Follower;

// E2B's REST interface and Atoll's own routes below /atoll/v1. Authenticates by API key; every
// id of another project answers exactly like an unknown one. Loop thread only. Store, node and
// clock are borrowed.
class Api {
 public:
  Api(asio::any_io_executor executor, ApiOptions options, store::Store& store, NodeClient& node, const Clock& clock);
  ~Api();

  // Reads the store, follows the node's events (for ever, with back-off) and brings both into step.
  // Ok also where the node was not to be reached in time: reads work, and creates say why not.
  Task<Status> start();
  Task<void> handle(rpc::Exchange& exchange);
  // Ends the background tasks; requests should have ended before.
  Task<void> stop();
  // Neither a request nor a background task runs: it may be destroyed.
  bool idle() const;

 private:
  std::unique_ptr<Core> core_;
  std::unique_ptr<Follower> follower_;
};

}  // namespace atl::control
