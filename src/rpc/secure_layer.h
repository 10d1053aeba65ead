#pragma once
#include <sys/types.h>

#include <span>
#include <string_view>

namespace atl::rpc {

// What may lie between a connected, non-blocking socket and HTTP: TLS after its handshake. It never
// waits, and speaks like recv and send: -1 and errno EAGAIN = wait until the socket is readable, or
// writable. The socket is borrowed. Loop thread only.
class SecureLayer {
 public:
  virtual ~SecureLayer() = default;
  // As much as there is now, up to into.size(); 0 = the peer ended its side. Less than asked means that
  // the socket must become readable before there is more.
  virtual ssize_t read(std::span<char> into) = 0;
  // How many were taken, possibly not all. After EAGAIN the same bytes must come again.
  virtual ssize_t write(std::string_view bytes) = 0;
  // True: a read would not have to wait for the socket.
  virtual bool has_unread() = 0;
  // Tells the peer that nothing more comes, as far as the socket takes it now.
  virtual void say_end() = 0;
};

}  // namespace atl::rpc
