#pragma once
#include <boost/asio/write.hpp>

#include "rpc/testing/loop.h"

namespace atl::rpc::testing {

// Bytes to and from a socket, as an arbitrary peer sends and sees them.
inline Task<void> send_raw(Socket& socket, std::string bytes) {
  const auto [code, n] =
      co_await asio::async_write(socket, asio::buffer(bytes), asio::as_tuple(asio::use_awaitable));
  (void)code;
  (void)n;
}

// All bytes until the peer closes (or resets); "<timeout>" is appended when it does not.
inline Task<std::string> receive_all(Socket& socket, Millis limit = Millis(5000)) {
  using namespace asio::experimental::awaitable_operators;
  std::string all;
  asio::steady_timer timer(co_await asio::this_coro::executor, limit);
  for (;;) {
    char buffer[16 * 1024];
    auto got = co_await (socket.async_read_some(asio::buffer(buffer), asio::as_tuple(asio::use_awaitable)) ||
                         timer.async_wait(asio::as_tuple(asio::use_awaitable)));
    if (got.index() == 1) co_return all + "<timeout>";
    const auto& [code, n] = std::get<0>(got);
    if (code) co_return all;
    all.append(buffer, n);
  }
}

// Until `mark` was received, or the end.
inline Task<std::string> receive_until(Socket& socket, std::string mark) {
  std::string all;
  while (all.find(mark) == std::string::npos) {
    char buffer[16 * 1024];
    const auto [code, n] =
        co_await socket.async_read_some(asio::buffer(buffer), asio::as_tuple(asio::use_awaitable));
    if (code) break;
    all.append(buffer, n);
  }
  co_return all;
}

// A source that gives its bytes in pieces of the given size.
class Pieces final : public ByteSource {
 public:
  Pieces(std::string bytes, std::size_t piece) : bytes_(std::move(bytes)), piece_(piece) {}
  Task<Result<std::size_t>> read_some(std::span<char> into) override {
    const std::size_t n = std::min({piece_, into.size(), bytes_.size() - at_});
    std::copy_n(bytes_.data() + at_, n, into.data());
    at_ += n;
    co_return n;
  }

 private:
  std::string bytes_;
  std::size_t piece_, at_ = 0;
};

}  // namespace atl::rpc::testing
