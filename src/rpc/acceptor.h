#pragma once
#include <functional>

#include "base/unique_fd.h"
#include "rpc/http1.h"

namespace atl::rpc {

// A bound TCP socket that listens, and the port it got. `address`:`port` (0 = any). "*" = all addresses:
// IPv6 and IPv4 on one socket, IPv4 alone where the host has no IPv6.
struct Listening {
  UniqueFd fd;
  std::uint16_t port = 0;
};
Result<Listening> listen_on(const std::string& address, std::uint16_t port);

// Gives each connection of a listening socket to `take`, on the loop, until closed. A shortage of
// descriptors is logged and waited out.
class Acceptor {
 public:
  using Take = std::function<void(Socket)>;
  Acceptor(asio::any_io_executor executor, UniqueFd listening, Take take);
  ~Acceptor() { close(); }
  Acceptor(const Acceptor&) = delete;
  Acceptor& operator=(const Acceptor&) = delete;
  void close();

 private:
  struct State;
  static Task<void> run(std::shared_ptr<State> state);
  std::shared_ptr<State> state_;
};

// Listens on an address of any family. `mode`: of a UNIX socket's file.
Result<UniqueFd> listening_socket(const sockaddr* address, socklen_t size, std::optional<unsigned> mode);

}  // namespace atl::rpc
