#pragma once
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/steady_timer.hpp>
#include <exception>
#include <optional>

#include "base/task.h"

namespace atl {

namespace detail {

template <class T>
struct Attempt {
  std::optional<Result<T>> outcome;  // a Result has no default
  std::exception_ptr thrown;
};

template <class T>
Task<void> attempt(Task<Result<T>> work, Attempt<T>& into) {
  try {
    into.outcome.emplace(co_await std::move(work));
  } catch (...) {
    // Left to the race, it would count as a loss, and the timer would go on.
    into.thrown = std::current_exception();
  }
}

}  // namespace detail

// Runs `work` for at most `limit`; then it is cancelled (its waits end with operation_aborted) and
// the answer is Errc::deadline, naming `what`. An exception of the work is the caller's.
template <class T>
Task<Result<T>> within(Millis limit, std::string what, Task<Result<T>> work) {
  using namespace asio::experimental::awaitable_operators;
  asio::steady_timer timer(co_await asio::this_coro::executor, limit);
  detail::Attempt<T> made;
  auto working = detail::attempt(std::move(work), made);
  auto waiting = timer.async_wait(asio::use_awaitable);
  const auto first = co_await (std::move(working) || std::move(waiting));
  // An error that came of the cancelling would hide why.
  const bool in_time = first.index() == 0;
  if (made.outcome && (in_time || made.outcome->ok())) co_return std::move(*made.outcome);
  if (in_time && made.thrown) std::rethrow_exception(made.thrown);
  co_return make_error(Errc::deadline, what + ": no answer within " + std::to_string(limit.count()) + " ms");
}

}  // namespace atl
