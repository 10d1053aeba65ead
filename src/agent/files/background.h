#pragma once
#include <boost/asio/experimental/channel.hpp>
#include <memory>
#include <optional>

#include "base/blocking.h"
#include "base/task.h"

namespace atl::agent {

// One blocking call on the pool that runs while the loop goes on, so that disk and network work at
// the same time. The work must own, or share, all it touches: when nobody waits any more it still
// runs to its end.
template <class T>
class Background {
 public:
  template <class Work>
  Background(asio::thread_pool& pool, asio::any_io_executor executor, Work work)
      : state_(std::make_shared<State>(executor)) {
    asio::post(pool, [state = state_, work = std::move(work), executor]() mutable {
      try {
        state->value.emplace(work());
      } catch (...) {
        state->thrown = std::current_exception();
      }
      asio::post(executor, [state] { state->done.try_send(boost::system::error_code()); });
    });
  }

  // Once only.
  Task<T> wait() {
    auto state = state_;
    co_await state->done.async_receive(asio::use_awaitable);
    if (state->thrown) std::rethrow_exception(state->thrown);
    co_return std::move(*state->value);
  }

 private:
  struct State {
    explicit State(asio::any_io_executor executor) : done(executor, 1) {}
    asio::experimental::channel<void(boost::system::error_code)> done;
    std::optional<T> value;
    std::exception_ptr thrown;
  };
  std::shared_ptr<State> state_;
};

}  // namespace atl::agent
