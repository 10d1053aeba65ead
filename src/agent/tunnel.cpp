#include "agent/tunnel.h"

#include <fcntl.h>

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/write.hpp>
#include <charconv>
#include <memory>
#include <span>

#include "agent/codec.h"

namespace atl::agent {
namespace {

using asio::ip::tcp;
using namespace asio::experimental::awaitable_operators;

constexpr Millis kDialDeadline{5'000};  // the address is local: only a full backlog takes any time
constexpr std::size_t kRelayBytes = 32u << 10;

Task<boost::system::error_code> dial(tcp::socket& socket, asio::ip::address address, std::uint16_t port) {
  const tcp::endpoint endpoint(address, port);
  boost::system::error_code error;
  socket.close(error);
  socket.open(endpoint.protocol(), error);
  if (error) co_return error;
  ::fcntl(socket.native_handle(), F_SETFD, FD_CLOEXEC);
  auto connected = co_await (socket.async_connect(endpoint, asio::as_tuple(asio::use_awaitable)) ||
                             sleep_for(kDialDeadline));
  if (connected.index() == 1) co_return asio::error::timed_out;
  co_return std::get<0>(std::get<0>(connected));
}

Task<Done> inward(rpc::ByteStream& outside, tcp::socket& inside) {
  // Not filled with zeros: a quiet tunnel then costs hardly any memory.
  const auto memory = std::make_unique_for_overwrite<char[]>(kRelayBytes);
  const std::span<char> buffer(memory.get(), kRelayBytes);
  boost::system::error_code ignored;
  for (;;) {
    const auto n = co_await outside.read_some(buffer);
    if (!n.ok()) break;
    if (*n == 0) {
      inside.shutdown(tcp::socket::shutdown_send, ignored);
      co_return Done{};
    }
    const auto [error, written] = co_await asio::async_write(inside, asio::buffer(buffer.data(), *n),
                                                             asio::as_tuple(asio::use_awaitable));
    if (error) break;
  }
  inside.close(ignored);
  outside.close();
  co_return Done{};
}

Task<Done> outward(tcp::socket& inside, rpc::ByteStream& outside) {
  const auto memory = std::make_unique_for_overwrite<char[]>(kRelayBytes);
  const std::span<char> buffer(memory.get(), kRelayBytes);
  for (;;) {
    const auto [error, n] = co_await inside.async_read_some(asio::buffer(buffer.data(), buffer.size()),
                                                            asio::as_tuple(asio::use_awaitable));
    if (error == asio::error::eof) {
      const Status finished = co_await outside.finish();
      if (finished.ok()) co_return Done{};
      break;
    }
    if (error) break;
    const Status written = co_await outside.write(std::string_view(buffer.data(), n));
    if (!written.ok()) break;
  }
  boost::system::error_code ignored;
  inside.close(ignored);
  outside.close();
  co_return Done{};
}

Task<void> refuse(rpc::Exchange& exchange, std::uint16_t port, std::string reason) {
  rpc::ReplyHead head;
  head.status = 502;
  head.headers.add("content-type", "application/json");
  std::string body = fmt::format(
      R"({{"code":502,"message":"The sandbox is running but port is not open","port":{},"reason":"{}"}})",
      port, json_escape(reason));
  (void)co_await exchange.reply(std::move(head), std::move(body));
}

}  // namespace

std::optional<std::uint16_t> tunnel_port(std::string_view authority) {
  constexpr std::string_view host = "127.0.0.1:";
  if (!authority.starts_with(host)) return std::nullopt;
  authority.remove_prefix(host.size());
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(authority.data(), authority.data() + authority.size(), port);
  if (error != std::errc() || end != authority.data() + authority.size() || port == 0) return std::nullopt;
  return port;
}

Task<void> handle_tunnel(rpc::Exchange& exchange) {
  const auto port = tunnel_port(exchange.request().authority);
  if (!port) {
    co_await reply_plain_error(exchange, 400, "CONNECT: the authority must be 127.0.0.1:PORT");
    co_return;
  }
  tcp::socket socket(co_await asio::this_coro::executor);
  auto error = co_await dial(socket, asio::ip::address_v4::loopback(), *port);
  if (error) error = co_await dial(socket, asio::ip::address_v6::loopback(), *port);
  if (error) {
    co_await refuse(exchange, *port, error.message());
    co_return;
  }
  boost::system::error_code ignored;
  socket.set_option(tcp::no_delay(true), ignored);
  rpc::ReplyHead head;
  auto stream = co_await exchange.tunnel(std::move(head));
  if (!stream.ok()) co_return;
  // Waiting for a silent program must end with its client.
  exchange.on_gone([&socket] {
    boost::system::error_code closed;
    socket.close(closed);
  });
  co_await (inward(**stream, socket) && outward(socket, **stream));
  exchange.on_gone(nullptr);
}

}  // namespace atl::agent
