#include "agent/machine/port_socket.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <array>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/write.hpp>
#include <memory>

#include "base/fs.h"

namespace atl::agent::machine {
namespace {

constexpr std::size_t kPieceBytes = 64 * 1024;

struct Bridge {
  Bridge(asio::any_io_executor executor, UniqueFd port_fd, UniqueFd pair_fd)
      : port(executor, port_fd.release()), pair(executor, pair_fd.release()) {}
  // Both tasks end, each by an error of its own stream. cancel() first: the port must be closed
  // only once nothing waits on it.
  void close() {
    boost::system::error_code ignored;
    port.close(ignored);
    pair.close(ignored);
  }
  asio::posix::stream_descriptor port, pair;
};

template <class From, class To>
Task<void> pump(std::shared_ptr<Bridge> bridge, From* from, To* to) {
  const auto buffer = std::make_unique<std::array<char, kPieceBytes>>();
  for (;;) {
    const auto [read_error, count] =
        co_await from->async_read_some(asio::buffer(*buffer), asio::as_tuple(asio::use_awaitable));
    if (read_error || count == 0) break;
    const auto [write_error, written] = co_await asio::async_write(*to, asio::buffer(buffer->data(), count),
                                                                   asio::as_tuple(asio::use_awaitable));
    if (write_error) break;
  }
  bridge->close();
}

}  // namespace

bool is_port(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 && S_ISCHR(info.st_mode);
}

Result<rpc::Socket> open_port(asio::any_io_executor executor, const std::string& path) {
  TRY(UniqueFd port, open_fd(path, O_RDWR | O_NONBLOCK));
  pollfd state{port.get(), POLLIN | POLLOUT, 0};
  if (::poll(&state, 1, 0) < 0) return os_error("poll", path);
  if (state.revents & POLLHUP) return make_error(Errc::unavailable, path + ": the host is not connected");
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0) return os_error("socketpair", "");
  UniqueFd ours(ends[0]), theirs(ends[1]);
  rpc::Socket socket(executor);
  boost::system::error_code error;
  socket.assign(asio::local::stream_protocol(), theirs.get(), error);
  if (error) return make_error(Errc::internal, "socketpair: " + error.message());
  [[maybe_unused]] const int owned = theirs.release();
  const auto bridge = std::make_shared<Bridge>(executor, std::move(port), std::move(ours));
  spawn(executor, "port to channel", pump(bridge, &bridge->port, &bridge->pair));
  spawn(executor, "channel to port", pump(bridge, &bridge->pair, &bridge->port));
  return socket;
}

}  // namespace atl::agent::machine
