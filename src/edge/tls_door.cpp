#include "edge/tls_door.h"

#include "edge/peer_counts.h"
#include "rpc/peer_address.h"

namespace atl::edge {

struct TlsDoor::Impl : std::enable_shared_from_this<TlsDoor::Impl> {
  Impl(asio::any_io_executor ex, std::string domain, const Clock& c, rpc::Handler handler)
      : executor(ex),
        clock(c),
        context(std::move(domain)),
        http1(ex, rpc::Http1Limits{}, handler),
        http2(ex, rpc::client_limits(), kHttp2ConnectionsMax, handler) {}

  void open() {
    if (acceptor || !listening.valid() || !context.ready()) return;
    auto take_it = [weak = weak_from_this()](rpc::Socket socket) {
      if (const auto self = weak.lock()) self->take(std::move(socket));
    };
    acceptor = std::make_unique<rpc::Acceptor>(executor, std::move(listening), std::move(take_it));
    log_info("edge accepts TLS", {{"domain", context.domain()}});
  }

  void take(rpc::Socket socket) {
    if (shaking >= kHandshakesMax) return;
    const std::string peer = rpc::peer_address(socket);
    auto connected = connections.take(peer);
    auto begun = handshakes.take(peer);
    if (connected == nullptr || begun == nullptr) return;
    ++shaking;
    auto done = [self = shared_from_this(), begun](std::exception_ptr failure) {
      --self->shaking;
      if (failure) log_error("tls handshake: task failed");
    };
    asio::co_spawn(executor, welcome(shared_from_this(), std::move(socket), std::move(connected)),
                   std::move(done));
  }

  static Task<void> welcome(std::shared_ptr<Impl> self, rpc::Socket socket, std::shared_ptr<void> ticket) {
    auto accepted = co_await tls::accept(socket, self->context, kHandshakeDeadline, std::move(ticket));
    if (!accepted.ok()) {
      log_debug("tls handshake failed",
                {{"peer", rpc::peer_address(socket)}, {"error", accepted.error().message}});
      co_return;
    }
    if (self->stopping) co_return;
    if (accepted->http2)
      self->http2.serve(std::move(socket), std::move(accepted->layer));
    else
      self->http1.serve(std::move(socket), std::move(accepted->layer));
  }

  asio::any_io_executor executor;
  const Clock& clock;
  tls::ServerContext context;
  rpc::Http1Server http1;
  rpc::Http2Server http2;
  UniqueFd listening;
  std::unique_ptr<rpc::Acceptor> acceptor;
  PeerCounts connections{kPeerConnectionsMax}, handshakes{kPeerHandshakesMax};
  std::size_t shaking = 0;
  bool stopping = false;
};

TlsDoor::TlsDoor(asio::any_io_executor executor, std::string domain, const Clock& clock, rpc::Handler handler)
    : impl_(std::make_shared<Impl>(executor, std::move(domain), clock, std::move(handler))) {}

TlsDoor::~TlsDoor() {
  impl_->stopping = true;
  impl_->acceptor.reset();
}

void TlsDoor::listen(UniqueFd listening) {
  impl_->listening = std::move(listening);
  impl_->open();
}

Status TlsDoor::use(const tls::Identity& identity) {
  CHECK_OK(impl_->context.use(identity, impl_->clock.wall()));
  impl_->open();
  return ok();
}

Task<void> TlsDoor::stop(Millis grace) {
  using namespace asio::experimental::awaitable_operators;
  const auto impl = impl_;
  impl->stopping = true;
  impl->acceptor.reset();
  co_await (impl->http1.stop(grace) && impl->http2.stop(grace));
}

}  // namespace atl::edge
