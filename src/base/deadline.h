#pragma once
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/steady_timer.hpp>

#include "base/task.h"

namespace atl {

// Runs `work` for at most `limit`; then it is cancelled (its waits end with operation_aborted) and
// the answer is Errc::deadline, naming `what`.
template <class T>
Task<Result<T>> within(Millis limit, std::string what, Task<Result<T>> work) {
  using namespace asio::experimental::awaitable_operators;
  asio::steady_timer timer(co_await asio::this_coro::executor, limit);
  auto wait = timer.async_wait(asio::use_awaitable);
  // Both are stored as optionals, since a Result has no default.
  std::optional<Result<T>> outcome;
  auto store = [](Task<Result<T>> inner, std::optional<Result<T>>& into) -> Task<void> {
    into.emplace(co_await std::move(inner));
  };
  auto stored = store(std::move(work), outcome);
  co_await (std::move(stored) || std::move(wait));
  if (outcome) co_return std::move(*outcome);
  co_return make_error(Errc::deadline, what + ": no answer within " + std::to_string(limit.count()) + " ms");
}

}  // namespace atl
