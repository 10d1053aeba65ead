#pragma once
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <boost/asio/local/stream_protocol.hpp>

#include "base/deadline.h"
#include "rpc/http2.h"

namespace atl::rpc::testing {

// A loop on which tests run one coroutine to its end; a test that hangs fails after the limit.
struct Loop {
  asio::io_context context;

  void run(Task<void> work, std::chrono::seconds limit = std::chrono::seconds(30)) {
    bool done = false;
    std::string failure;
    asio::co_spawn(context, std::move(work), [&](std::exception_ptr thrown) {
      done = true;
      if (thrown) try {
          std::rethrow_exception(thrown);
        } catch (const std::exception& e) {
          failure = e.what();
        }
    });
    const auto until = std::chrono::steady_clock::now() + limit;
    while (!done && std::chrono::steady_clock::now() < until) {
      context.restart();
      context.run_one_until(until);
    }
    EXPECT_TRUE(done) << "the test did not end in time";
    EXPECT_EQ(failure, "");
  }
};

inline std::pair<Socket, Socket> socket_pair(asio::io_context& context) {
  int fds[2];
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
  const asio::generic::stream_protocol protocol(AF_UNIX, 0);
  return {Socket(context, protocol, fds[0]), Socket(context, protocol, fds[1])};
}

}  // namespace atl::rpc::testing
