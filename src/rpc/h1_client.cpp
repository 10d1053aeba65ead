#include <sys/socket.h>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>

#include "base/deadline.h"
#include "rpc/h1_client_exchange.h"

namespace atl::rpc {
namespace {

// Servers close idle connections; one that was kept longer is not tried.
constexpr std::chrono::seconds kKeptMax{60};

using Endpoint = asio::generic::stream_protocol::endpoint;

std::string name_of(const Http1Target& target) {
  return target.unix_path.empty() ? target.host + ":" + std::to_string(target.port) : target.unix_path;
}

Result<Endpoint> endpoint_of(const Http1Target& target) {
  if (!target.unix_path.empty()) {
    if (target.unix_path.size() > 107)
      return make_error(Errc::invalid, target.unix_path + ": longer than 107 bytes");
    return Endpoint(asio::local::stream_protocol::endpoint(target.unix_path));
  }
  boost::system::error_code code;
  const auto address = asio::ip::make_address(target.host == "localhost" ? "127.0.0.1" : target.host, code);
  if (code) return make_error(Errc::invalid, "'" + target.host + "' is no IP address");
  return Endpoint(asio::ip::tcp::endpoint(address, target.port));
}

Task<Result<H1LinkPtr>> connect_socket(Http1Target target) {
  CO_TRY(const Endpoint endpoint, endpoint_of(target));
  const int family = endpoint.protocol().family();
  // Close-on-exec from the first moment, since other threads start programs.
  const int fd = ::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) co_return os_error("socket", name_of(target));
  Socket socket(co_await asio::this_coro::executor, asio::generic::stream_protocol(family, 0), fd);
  const auto [code] = co_await socket.async_connect(endpoint, asio::as_tuple(asio::use_awaitable));
  if (code) co_return make_error(Errc::unavailable, "connect " + name_of(target) + ": " + code.message());
  auto stream = std::make_unique<SocketStream>(std::move(socket));
  SocketStream* const raw = stream.get();
  auto link = std::make_unique<H1Link>(std::move(stream));
  link->socket = raw;
  co_return link;
}

class H1Client final : public Client {
 public:
  H1Client(Http1Target target, std::size_t most, Millis connect_deadline)
      : pool_(std::make_shared<H1Pool>(std::move(target), most, connect_deadline)) {}
  ~H1Client() override { pool_->close(); }

  Task<Result<std::unique_ptr<ClientExchange>>> open(RequestHead head, bool has_body) override {
    const auto pool = pool_;
    H1LinkPtr link = pool->take();
    if (!link) {
      CO_TRY(link, co_await pool->connect());
    }
    auto exchange = std::make_unique<H1ClientExchange>(std::move(link), pool, head, has_body);
    CO_CHECK_OK(co_await exchange->begin(std::move(head)));
    co_return std::unique_ptr<ClientExchange>(std::move(exchange));
  }

 private:
  std::shared_ptr<H1Pool> pool_;
};

}  // namespace

void H1Pool::put(H1LinkPtr link) {
  if (!open_ || idle_.size() >= most_ || !link->reader.buffered().empty()) return;
  link->reader.release_if_empty();
  link->kept_since = std::chrono::steady_clock::now();
  idle_.push_back(std::move(link));
}

H1LinkPtr H1Pool::take() {
  const auto oldest = std::chrono::steady_clock::now() - kKeptMax;
  while (!idle_.empty()) {
    H1LinkPtr link = std::move(idle_.back());
    idle_.pop_back();
    // Neither bytes nor an end may come on a connection between two requests.
    char byte;
    const ssize_t n = ::recv(link->socket->socket().native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    const bool quiet = n < 0 && errno == EAGAIN;
    if (!quiet || link->kept_since < oldest) continue;
    link->reused = true;
    return link;
  }
  return nullptr;
}

Task<Result<H1LinkPtr>> H1Pool::connect() {
  auto connecting = connect_socket(target_);
  return within(connect_deadline_, "connect " + name_of(target_), std::move(connecting));
}

void H1Pool::close() {
  open_ = false;
  idle_.clear();
}

std::unique_ptr<Client> http1_client(asio::any_io_executor, Http1Target target, std::size_t connections_max,
                                     Millis connect_deadline) {
  return std::make_unique<H1Client>(std::move(target), connections_max, connect_deadline);
}

Task<Result<std::unique_ptr<ClientExchange>>> http1_over(std::unique_ptr<ByteStream> stream, RequestHead head,
                                                         bool has_body) {
  auto link = std::make_unique<H1Link>(std::move(stream));
  auto exchange = std::make_unique<H1ClientExchange>(std::move(link), nullptr, head, has_body);
  CO_CHECK_OK(co_await exchange->begin(std::move(head)));
  co_return std::unique_ptr<ClientExchange>(std::move(exchange));
}

}  // namespace atl::rpc
