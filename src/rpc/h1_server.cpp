#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <list>

#include "base/wakeup.h"
#include "rpc/acceptor.h"
#include "rpc/h1_connection.h"

namespace atl::rpc {
namespace {

// Connections over the bound that are told so; more are closed without a word.
constexpr std::size_t kRefusingMax = 64;
// After closing everything: for handlers to notice and return.
constexpr Millis kLastWait{1000};

}  // namespace

struct Http1Server::Impl : std::enable_shared_from_this<Http1Server::Impl> {
  using Connections = std::list<std::shared_ptr<H1Connection>>;

  Impl(asio::any_io_executor ex, Http1Limits l, Handler h)
      : executor(std::move(ex)), limits(l), handler(std::move(h)), ended(executor) {}

  // The acceptor must not keep this alive: it is a member.
  void accept_on(UniqueFd fd) {
    auto take_it = [weak = weak_from_this()](Socket socket) {
      if (const auto self = weak.lock()) self->take(std::move(socket));
    };
    acceptors.push_back(std::make_unique<Acceptor>(executor, std::move(fd), std::move(take_it)));
  }

  void take(Socket socket, std::unique_ptr<SecureLayer> layer = nullptr) {
    if (connections.size() >= limits.connections_max) {
      if (refusing.size() >= kRefusingMax) return;
      const auto connection = std::make_shared<H1Connection>(std::move(socket), std::move(layer), limits);
      Error full = make_error(Errc::unavailable, "this server has all of its " +
                                                     std::to_string(limits.connections_max) +
                                                     " connections in use; try again later");
      start(refusing, connection, connection->run_refusing(std::move(full)));
      return;
    }
    const auto connection = std::make_shared<H1Connection>(std::move(socket), std::move(layer), limits);
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
    for (auto& acceptor : acceptors) acceptor->close();
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
  std::vector<std::unique_ptr<Acceptor>> acceptors;
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
  TRY(Listening listening, listen_on(address, port));
  impl_->accept_on(std::move(listening.fd));
  return listening.port;
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
  impl_->accept_on(std::move(*fd));
  return ok();
}

void Http1Server::serve(Socket socket, std::unique_ptr<SecureLayer> layer) {
  impl_->take(std::move(socket), std::move(layer));
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
