#include "rpc/acceptor.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <boost/asio/basic_socket_acceptor.hpp>
#include <cstring>

namespace atl::rpc {
namespace {

constexpr int kAcceptsPerTurn = 32;
constexpr Millis kAcceptPause{50};
constexpr int kBacklog = 1024;

int family_of(int fd) {
  int family = AF_UNSPEC;
  socklen_t size = sizeof family;
  ::getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &size);
  return family;
}

}  // namespace

// Descriptors are close-on-exec from the first moment, since other threads start programs.
Result<UniqueFd> listening_socket(const sockaddr* address, socklen_t size, std::optional<unsigned> mode) {
  UniqueFd fd(::socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.valid()) return os_error("socket", "");
  const int on = 1, off = 0;
  if (!mode) ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  // "::" means all addresses, whatever the host's default is.
  if (address->sa_family == AF_INET6) ::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
  // A UNIX socket's file gets its descriptor's mode when it is bound, so there is no moment with a wider one.
  if (mode && ::fchmod(fd.get(), *mode) != 0) return os_error("fchmod", "");
  if (::bind(fd.get(), address, size) != 0) return os_error("bind", "");
  if (::listen(fd.get(), kBacklog) != 0) return os_error("listen", "");
  return fd;
}

Result<Listening> listen_on(const std::string& address, std::uint16_t port) {
  if (address == "*") {
    auto both = listen_on("::", port);
    const bool no_v6 =
        !both.ok() && (both.error().os_error == EAFNOSUPPORT || both.error().os_error == EADDRNOTAVAIL);
    return no_v6 ? listen_on("0.0.0.0", port) : std::move(both);
  }
  boost::system::error_code code;
  const auto parsed = asio::ip::make_address(address, code);
  if (code) return make_error(Errc::invalid, "listen address '" + address + "' is no IP address");
  asio::ip::tcp::endpoint endpoint(parsed, port);
  auto fd = listening_socket(endpoint.data(), static_cast<socklen_t>(endpoint.size()), std::nullopt);
  if (!fd.ok()) return with_context(fd.error(), "listen on " + address + ":" + std::to_string(port));
  auto size = static_cast<socklen_t>(endpoint.capacity());
  if (::getsockname(fd->get(), endpoint.data(), &size) != 0) return os_error("getsockname", address);
  return Listening{std::move(*fd), endpoint.port()};
}

struct Acceptor::State {
  using Socket = asio::basic_socket_acceptor<asio::generic::stream_protocol>;
  State(asio::any_io_executor executor, UniqueFd fd, Take t)
      : family(family_of(fd.get())),
        socket(std::move(executor), asio::generic::stream_protocol(family, 0), fd.release()),
        take(std::move(t)) {}
  int family;
  Socket socket;
  Take take;
};

Acceptor::Acceptor(asio::any_io_executor executor, UniqueFd listening, Take take)
    : state_(std::make_shared<State>(executor, std::move(listening), std::move(take))) {
  spawn(executor, "accept", run(state_));
}

void Acceptor::close() {
  boost::system::error_code ignored;
  state_->socket.close(ignored);
}

Task<void> Acceptor::run(std::shared_ptr<State> state) {
  auto& socket = state->socket;
  while (socket.is_open()) {
    const auto [code] = co_await socket.async_wait(State::Socket::wait_read, asio::as_tuple(asio::use_awaitable));
    if (code || !socket.is_open()) co_return;
    for (int i = 0; i < kAcceptsPerTurn && socket.is_open(); ++i) {
      UniqueFd fd(::accept4(socket.native_handle(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
      if (fd.valid()) {
        state->take(Socket(socket.get_executor(), asio::generic::stream_protocol(state->family, 0), fd.release()));
        continue;
      }
      const int error = errno;
      if (error == EAGAIN) break;
      if (error == ECONNABORTED || error == EINTR) continue;
      // Out of descriptors or memory, most likely: others must end first.
      log_warn("accept failed, carrying on", {{"error", std::strerror(error)}});
      co_await sleep_for(kAcceptPause);
      break;
    }
  }
}

}  // namespace atl::rpc
