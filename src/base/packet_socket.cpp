#include "base/packet_socket.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <cstring>

namespace atl {
namespace {

using namespace asio::experimental::awaitable_operators;

constexpr int kDescriptorsRoom = 16;  // more in one packet: the kernel closes them and says MSG_CTRUNC

Result<sockaddr_un> address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path)
    return make_error(Errc::invalid, path + ": a Unix socket's path may have at most 107 bytes");
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

Result<UniqueFd> new_socket(int type) {
  UniqueFd fd(::socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.valid()) return os_error("socket", "AF_UNIX");
  return fd;
}

// Takes every descriptor out of the control data, so that none can leak.
std::vector<UniqueFd> descriptors_of(msghdr& message) {
  std::vector<UniqueFd> out;
  for (cmsghdr* c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof fd);
      out.emplace_back(fd);
    }
  }
  return out;
}

// nullopt: nothing there yet.
std::optional<Result<std::optional<Packet>>> receive_now(int socket) {
  Packet packet;
  packet.bytes.resize(kPacketBytesMax);
  alignas(cmsghdr) char control[CMSG_SPACE(kDescriptorsRoom * sizeof(int))];
  iovec io{packet.bytes.data(), packet.bytes.size()};
  msghdr message{};
  message.msg_iov = &io;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  const ssize_t n = ::recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return std::nullopt;
  if (n < 0) return os_error("recvmsg", "packet socket");
  auto descriptors = descriptors_of(message);
  // An empty packet and the end look alike; nobody sends empty packets.
  if (n == 0) return Result<std::optional<Packet>>(std::optional<Packet>());
  if (message.msg_flags & MSG_TRUNC)
    return make_error(Errc::invalid, "a packet of more than " + std::to_string(kPacketBytesMax) + " bytes");
  if ((message.msg_flags & MSG_CTRUNC) || descriptors.size() > 1)
    return make_error(Errc::invalid, "a packet with more than one descriptor");
  packet.bytes.resize(static_cast<std::size_t>(n));
  if (!descriptors.empty()) packet.fd = std::move(descriptors.front());
  return Result<std::optional<Packet>>(std::optional<Packet>(std::move(packet)));
}

ssize_t send_now(int socket, std::string& bytes, int fd) {
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  iovec io{bytes.data(), bytes.size()};
  msghdr message{};
  message.msg_iov = &io;
  message.msg_iovlen = 1;
  if (fd >= 0) {
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(c), &fd, sizeof fd);
  }
  return ::sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

Task<bool> writable(asio::posix::stream_descriptor& socket, Millis at_most) {
  const auto outcome = co_await (
      socket.async_wait(asio::posix::stream_descriptor::wait_write, asio::as_tuple(asio::use_awaitable)) ||
      sleep_for(at_most));
  co_return outcome.index() == 0 && !std::get<0>(std::get<0>(outcome));
}

}  // namespace

Result<Peer> peer_of(int fd) {
  ucred credentials{};
  socklen_t size = sizeof credentials;
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0)
    return os_error("SO_PEERCRED", "Unix socket");
  return Peer{credentials.pid, credentials.uid};
}

Result<UnixListener> UnixListener::open(asio::any_io_executor executor, const std::string& path, int type,
                                        unsigned mode) {
  TRY(sockaddr_un address, address_of(path));
  TRY(UniqueFd fd, new_socket(type));
  struct stat info{};
  if (::lstat(path.c_str(), &info) == 0 && S_ISSOCK(info.st_mode)) ::unlink(path.c_str());
  // Nobody can connect before listen, so the mode is set in between.
  if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
    return os_error("bind", path);
  if (::chmod(path.c_str(), mode) != 0) return os_error("chmod", path);
  if (::listen(fd.get(), 64) != 0) return os_error("listen", path);
  return UnixListener(executor, fd.release());
}

Task<Result<UniqueFd>> UnixListener::accept() {
  for (;;) {
    const auto [error] = co_await socket_.async_wait(asio::posix::stream_descriptor::wait_read,
                                                     asio::as_tuple(asio::use_awaitable));
    if (error) co_return make_error(Errc::unavailable, "listener closed");
    UniqueFd fd(::accept4(socket_.native_handle(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (fd.valid()) co_return fd;
    if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED) continue;
    const int err = errno;
    if (err != EMFILE && err != ENFILE && err != ENOMEM && err != ENOBUFS)
      co_return os_error("accept", "Unix socket", err);
    // Out of descriptors: the backlog waits until some are closed.
    co_await sleep_for(Millis(100));
  }
}

void UnixListener::close() {
  boost::system::error_code ignored;
  socket_.close(ignored);
}

Result<UniqueFd> connect_unix(const std::string& path, int type) {
  TRY(sockaddr_un address, address_of(path));
  TRY(UniqueFd fd, new_socket(type));
  if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
    return os_error("connect", path);
  return fd;
}

PacketSocket::PacketSocket(asio::any_io_executor executor, UniqueFd connected)
    : socket_(executor, connected.release()) {}

Task<Result<std::optional<Packet>>> PacketSocket::receive() {
  for (;;) {
    if (!socket_.is_open()) co_return std::optional<Packet>();
    if (auto got = receive_now(socket_.native_handle())) co_return std::move(*got);
    const auto [error] = co_await socket_.async_wait(asio::posix::stream_descriptor::wait_read,
                                                     asio::as_tuple(asio::use_awaitable));
    if (error) co_return std::optional<Packet>();
  }
}

Task<Status> PacketSocket::send(std::string bytes, int fd, Millis deadline) {
  if (bytes.empty() || bytes.size() > kPacketBytesMax)
    co_return make_error(Errc::too_large, "a packet must have 1 to 65536 bytes");
  const auto until = std::chrono::steady_clock::now() + deadline;
  for (;;) {
    if (!socket_.is_open()) co_return make_error(Errc::unavailable, "packet socket closed");
    if (send_now(socket_.native_handle(), bytes, fd) >= 0) co_return ok();
    if (errno != EAGAIN && errno != EINTR) co_return os_error("sendmsg", "packet socket");
    const auto left = std::chrono::duration_cast<Millis>(until - std::chrono::steady_clock::now());
    if (left.count() <= 0) co_return make_error(Errc::deadline, "the peer does not take packets");
    co_await writable(socket_, left);
  }
}

void PacketSocket::close() {
  boost::system::error_code ignored;
  socket_.close(ignored);
}

}  // namespace atl
