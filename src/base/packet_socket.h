#pragma once
#include <sys/socket.h>
#include <sys/types.h>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <optional>
#include <string>

#include "base/task.h"
#include "base/unique_fd.h"

namespace atl {

inline constexpr std::size_t kPacketBytesMax = 64 * 1024;

// Who is at the other end of a Unix socket, as the kernel saw it at connect.
struct Peer {
  pid_t pid = 0;
  uid_t uid = 0;
};
Result<Peer> peer_of(int fd);

// Listening Unix sockets of one kind (SOCK_STREAM or SOCK_SEQPACKET), and how to reach them.
class UnixListener {
 public:
  // Replaces a socket left at `path` by an earlier run; `mode` holds before the first connect.
  static Result<UnixListener> open(asio::any_io_executor executor, const std::string& path, int type,
                                   unsigned mode);
  // The next connection, non-blocking. An error means that the listener is closed or broken.
  Task<Result<UniqueFd>> accept();
  void close();

 private:
  UnixListener(asio::any_io_executor executor, int fd) : socket_(executor, fd) {}
  asio::posix::stream_descriptor socket_;
};
// Does not wait: Unix sockets connect at once or fail (EAGAIN where the backlog is full).
Result<UniqueFd> connect_unix(const std::string& path, int type);

struct Packet {
  std::string bytes;
  UniqueFd fd;
};

// One end of a SOCK_SEQPACKET connection that carries packets of at most kPacketBytesMax, each
// with at most one descriptor. The peer may be hostile: a larger packet, or one with more
// descriptors, is Errc::invalid and everything that came with it is closed.
class PacketSocket {
 public:
  PacketSocket(asio::any_io_executor executor, UniqueFd connected);
  // nullopt = the peer is gone.
  Task<Result<std::optional<Packet>>> receive();
  // Waits up to `deadline` for room. `fd` is borrowed; -1 = none.
  Task<Status> send(std::string bytes, int fd, Millis deadline);
  void close();

 private:
  asio::posix::stream_descriptor socket_;
};

}  // namespace atl
