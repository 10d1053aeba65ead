#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <cstring>
#include <list>

#include "base/unique_fd.h"
#include "base/wakeup.h"
#include "rpc/h1_connection.h"

namespace atl::rpc {
namespace {

// Connections over the bound that are told so; more are closed without a word.
constexpr std::size_t kRefusingMax = 64;
constexpr int kAcceptsPerTurn = 32;
constexpr Millis kAcceptPause{50};
// After closing everything: for handlers to notice and return.
constexpr Millis kLastWait{1000};

// Listens on an address. Descriptors are close-on-exec from the first moment, since other threads
// start programs.
Result<UniqueFd> listening_socket(const sockaddr* address, socklen_t size, std::optional<unsigned> mode) {
  UniqueFd fd(::socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.valid()) return os_error("socket", "");
  const int on = 1;
  if (!mode) ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  // A UNIX socket's file gets its descriptor's mode when it is bound, so there is no moment with a wider one.
  if (mode && ::fchmod(fd.get(), *mode) != 0) return os_error("fchmod", "");
  if (::bind(fd.get(), address, size) != 0) return os_error("bind", "");
  if (::listen(fd.get(), 1024) != 0) return os_error("listen", "");
  return fd;
}

}  // namespace

struct Http1Server::Impl : std::enable_shared_from_this<Http1Server::Impl> {
  using Acceptor = asio::basic_socket_acceptor<asio::generic::stream_protocol>;
  using Connections = std::list<std::shared_ptr<H1Connection>>;

  Impl(asio::any_io_executor ex, Http1Limits l, Handler h)
      : executor(std::move(ex)), limits(l), handler(std::move(h)), ended(executor) {}

  void accept_on(UniqueFd fd, int family) {
    auto acceptor =
        std::make_shared<Acceptor>(executor, asio::generic::stream_protocol(family, 0), fd.release());
    acceptors.push_back(acceptor);
    spawn(executor, "http1 accept", accept_loop(shared_from_this(), std::move(acceptor), family));
  }

  static Task<void> accept_loop(std::shared_ptr<Impl> self, std::shared_ptr<Acceptor> acceptor, int family) {
    while (acceptor->is_open()) {
      const auto [code] =
          co_await acceptor->async_wait(Acceptor::wait_read, asio::as_tuple(asio::use_awaitable));
      if (code || !acceptor->is_open()) co_return;
      for (int i = 0; i < kAcceptsPerTurn; ++i) {
        UniqueFd fd(::accept4(acceptor->native_handle(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
        if (fd.valid()) {
          self->take(Socket(self->executor, asio::generic::stream_protocol(family, 0), fd.release()));
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

  void take(Socket socket) {
    if (connections.size() >= limits.connections_max) {
      if (refusing.size() >= kRefusingMax) return;
      const auto connection = std::make_shared<H1Connection>(std::move(socket), limits);
      Error full = make_error(Errc::unavailable, "this server has all of its " +
                                                     std::to_string(limits.connections_max) +
                                                     " connections in use; try again later");
      start(refusing, connection, connection->run_refusing(std::move(full)));
      return;
    }
    const auto connection = std::make_shared<H1Connection>(std::move(socket), limits);
    start(connections, connection, connection->run(handler));
  }

  void start(Connections& list, std::shared_ptr<H1Connection> connection, Task<void> work) {
    const auto at = list.insert(list.end(), std::move(connection));
    auto done = [self = shared_from_this(), &list, at](std::exception_ptr failure) {
      list.erase(at);
      self->ended.notify();
      if (failure) log_error("http1 connection: task failed");
    };
    asio::co_spawn(executor, std::move(work), std::move(done));
  }

  void close_acceptors() {
    boost::system::error_code ignored;
    for (auto& acceptor : acceptors) acceptor->close(ignored);
  }
  void stop_connections(bool now) {
    for (auto* list : {&connections, &refusing})
      for (auto& connection : *list) connection->stop(now);
  }
  Task<void> wait_for_connections(Millis limit) {
    const auto until = std::chrono::steady_clock::now() + limit;
    while (!connections.empty() && std::chrono::steady_clock::now() < until) co_await ended.wait_until(until);
  }

  asio::any_io_executor executor;
  Http1Limits limits;
  Handler handler;
  std::vector<std::shared_ptr<Acceptor>> acceptors;
  Connections connections;
  Connections refusing;
  Wakeup ended;
};

Http1Server::Http1Server(asio::any_io_executor executor, Http1Limits limits, Handler handler)
    : impl_(std::make_shared<Impl>(std::move(executor), limits, std::move(handler))) {}

Http1Server::~Http1Server() {
  impl_->close_acceptors();
  impl_->stop_connections(true);
}

Result<std::uint16_t> Http1Server::listen_tcp(const std::string& address, std::uint16_t port) {
  boost::system::error_code code;
  const auto parsed = asio::ip::make_address(address, code);
  if (code) return make_error(Errc::invalid, "listen address '" + address + "' is no IP address");
  asio::ip::tcp::endpoint endpoint(parsed, port);
  auto fd = listening_socket(endpoint.data(), static_cast<socklen_t>(endpoint.size()), std::nullopt);
  if (!fd.ok()) return with_context(fd.error(), "listen on " + address + ":" + std::to_string(port));
  auto size = static_cast<socklen_t>(endpoint.capacity());
  if (::getsockname(fd->get(), endpoint.data(), &size) != 0) return os_error("getsockname", address);
  impl_->accept_on(std::move(*fd), parsed.is_v6() ? AF_INET6 : AF_INET);
  return endpoint.port();
}

Status Http1Server::listen_unix(const std::string& path, unsigned mode) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path)
    return make_error(Errc::invalid, "listen on '" + path + "': a socket's path has 1 to 107 bytes");
  std::memcpy(address.sun_path, path.data(), path.size());
  struct stat info{};
  if (::lstat(path.c_str(), &info) == 0) {
    if (!S_ISSOCK(info.st_mode))
      return make_error(Errc::exists, "listen on " + path + ": it exists and is no socket");
    if (::unlink(path.c_str()) != 0) return os_error("unlink", path);
  }
  auto fd = listening_socket(reinterpret_cast<const sockaddr*>(&address), sizeof address, mode);
  if (!fd.ok()) return with_context(fd.error(), "listen on " + path);
  // The process's mask took bits away.
  if (::chmod(path.c_str(), mode) != 0) return os_error("chmod", path);
  impl_->accept_on(std::move(*fd), AF_UNIX);
  return ok();
}

void Http1Server::serve(Socket socket) {
  impl_->take(std::move(socket));
}

Task<void> Http1Server::stop(Millis grace) {
  const auto impl = impl_;
  impl->close_acceptors();
  impl->stop_connections(false);
  co_await impl->wait_for_connections(grace);
  impl->stop_connections(true);
  co_await impl->wait_for_connections(kLastWait);
}

}  // namespace atl::rpc
