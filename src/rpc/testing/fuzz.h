#pragma once
#include <sys/socket.h>

#include <chrono>

#include "rpc/http1.h"

namespace atl::rpc::testing {

inline std::string_view bytes_of(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

// Gives its bytes in pieces whose sizes the input chooses, so that every cut is tried.
class FuzzSource final : public ByteSource {
 public:
  FuzzSource(std::string_view bytes, std::size_t piece)
      : bytes_(bytes), piece_(piece % 7 == 0 ? bytes.size() + 1 : piece % 7) {}
  Task<Result<std::size_t>> read_some(std::span<char> into) override {
    const std::size_t n = std::min({piece_, into.size(), bytes_.size()});
    std::copy_n(bytes_.data(), n, into.data());
    bytes_.remove_prefix(n);
    co_return n;
  }

 private:
  std::string_view bytes_;
  std::size_t piece_;
};

inline void run_to_end(asio::io_context& loop, Task<void> work) {
  spawn(loop.get_executor(), "fuzz", std::move(work));
  loop.run_for(std::chrono::seconds(5));
  if (!loop.stopped()) __builtin_trap();  // a hang is a finding
}

// Two connected sockets; what is written to `near` is the input, then its end.
struct FuzzPeer {
  explicit FuzzPeer(asio::io_context& loop, std::string_view input) {
    int fds[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) __builtin_trap();
    near = fds[0];
    far.emplace(loop, asio::generic::stream_protocol(AF_UNIX, 0), fds[1]);
    [[maybe_unused]] const ssize_t n = ::send(near, input.data(), input.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    ::shutdown(near, SHUT_WR);
  }
  ~FuzzPeer() { ::close(near); }
  int near;
  std::optional<Socket> far;
};

// Reads the body in odd pieces and answers with its size.
inline Task<void> fuzz_handler(Exchange& exchange) {
  std::size_t total = 0;
  char buffer[1000];
  for (;;) {
    auto n = co_await exchange.body().read_some(buffer);
    if (!n.ok() || *n == 0) break;
    total += *n;
  }
  ReplyHead head;
  const Status sent = co_await exchange.reply(std::move(head), std::to_string(total));
  (void)sent.ok();
}

}  // namespace atl::rpc::testing
