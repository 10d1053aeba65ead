#pragma once
#include <memory>

#include "base/clock.h"
#include "base/wakeup.h"
#include "rpc/acceptor.h"
#include "rpc/http2.h"
#include "tls/server.h"

namespace atl::edge {

// The front door of domain mode: TLS, then HTTP/2 or HTTP/1.1 as the client chose. Loop thread only.
class TlsDoor {
 public:
  static constexpr Millis kHandshakeDeadline{10'000};
  // A client that starts a hundred commands at once dials a burst of connections and keeps few.
  static constexpr std::size_t kHandshakesMax = 1024;
  static constexpr std::size_t kHttp2ConnectionsMax = 2048;
  // Of one peer. HTTP/1.1 clients have a connection for each command that runs; a larger share would let
  // one peer take all.
  static constexpr std::size_t kPeerHandshakesMax = 256, kPeerConnectionsMax = 1024;

  TlsDoor(asio::any_io_executor executor, std::string domain, const Clock& clock, rpc::Handler handler);
  ~TlsDoor();

  // Clients are accepted once there is an identity too; until then they wait in the socket's queue.
  void listen(UniqueFd listening);
  // For new connections. On failure the one before stays in use.
  Status use(const tls::Identity& identity);
  Task<void> stop(Millis grace);

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace atl::edge
