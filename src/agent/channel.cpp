#include "agent/channel.h"

#include <fcntl.h>

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/write.hpp>

#include "agent/machine/port_socket.h"
#include "rpc/http2.h"

namespace atl::agent {
namespace {

using namespace asio::experimental::awaitable_operators;

constexpr Millis kFirstDelay{50}, kLongestDelay{1'000};
constexpr Millis kDialDeadline{5'000};
// A connection that held this long was good: the next dial starts with the short delay again.
constexpr std::chrono::seconds kGoodAfter{5};
// Of dials that fail in a row, one in so many is logged: about one line a minute at the end.
constexpr unsigned kLogEvery = 60;

Task<boost::system::error_code> connect(rpc::Socket& socket, const BootConfig& boot) {
  const asio::local::stream_protocol::endpoint endpoint(boot.channel);
  boost::system::error_code error;
  socket.open(endpoint.protocol(), error);
  if (error) co_return error;
  // Asio opens sockets that a child would inherit; the channel must never reach a command.
  if (::fcntl(socket.native_handle(), F_SETFD, FD_CLOEXEC) != 0)
    co_return boost::system::error_code(errno, boost::system::system_category());
  const rpc::Socket::endpoint_type generic(endpoint);
  auto connected = co_await (socket.async_connect(generic, asio::as_tuple(asio::use_awaitable)) ||
                             sleep_for(kDialDeadline));
  if (connected.index() == 1) co_return asio::error::timed_out;
  co_return std::get<0>(std::get<0>(connected));
}

Task<boost::system::error_code> dial(rpc::Socket& socket, const BootConfig& boot) {
  if (machine::is_port(boot.channel)) {
    auto opened = machine::open_port(socket.get_executor(), boot.channel);
    if (!opened.ok()) co_return asio::error::not_connected;
    socket = std::move(*opened);
  } else if (const auto error = co_await connect(socket, boot)) {
    co_return error;
  }
  auto written = co_await (
      asio::async_write(socket, asio::buffer(boot.boot_token), asio::as_tuple(asio::use_awaitable)) ||
      sleep_for(kDialDeadline));
  if (written.index() == 1) co_return asio::error::timed_out;
  co_return std::get<0>(std::get<0>(written));
}

}  // namespace

Task<void> serve_channel(AgentContext& context, rpc::Handler handler) {
  Millis delay = kFirstDelay;
  unsigned failures = 0;
  for (;;) {
    rpc::Socket socket(context.executor);
    const auto error = co_await dial(socket, context.boot);
    if (error) {
      if (failures++ % kLogEvery == 0)
        log_warn("channel not reached", {{"socket", context.boot.channel}, {"error", error.message()}});
    } else {
      const auto since = context.clock.steady();
      if (failures > 0) log_info("channel reached", {{"failed", failures}});
      failures = 0;
      co_await rpc::serve_http2(std::move(socket), rpc::Http2Limits{}, handler);
      if (context.clock.steady() - since >= kGoodAfter) delay = kFirstDelay;
    }
    co_await sleep_for(delay);
    delay = std::min(delay * 2, kLongestDelay);
  }
}

}  // namespace atl::agent
