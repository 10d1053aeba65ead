#pragma once
#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <type_traits>

#include "base/task.h"

namespace atl {

// Runs `work` (blocking: file I/O, mounts, waiting for a runtime) on the pool and resumes on the
// caller's executor. The work must bound its own time; it is not interrupted. An exception in it
// is thrown to the awaiting coroutine.
template <class Work>
auto run_blocking(asio::thread_pool& pool, Work work) -> Task<std::invoke_result_t<Work>> {
  using T = std::invoke_result_t<Work>;
  static_assert(!std::is_void_v<T>, "give a value back: a Status says whether it worked");
  struct Shared {
    std::optional<T> value;
    std::exception_ptr thrown;
  };
  auto shared = std::make_shared<Shared>();
  auto home = co_await asio::this_coro::executor;
  auto start = [&pool, shared, home, &work](auto handler) mutable {
    asio::post(pool, [shared, home, work = std::move(work), handler = std::move(handler)]() mutable {
      try {
        shared->value.emplace(work());
      } catch (...) {
        shared->thrown = std::current_exception();
      }
      asio::post(home, [handler = std::move(handler)]() mutable { handler(); });
    });
  };
  co_await asio::async_initiate<const asio::use_awaitable_t<>&, void()>(std::move(start), asio::use_awaitable);
  if (shared->thrown) std::rethrow_exception(shared->thrown);
  co_return std::move(*shared->value);
}

}  // namespace atl
