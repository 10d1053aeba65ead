#pragma once
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <list>

#include "base/task.h"

namespace atl {

// A condition for coroutines of one loop thread: check, wait, check again. It must outlive its
// waiters, so they hold whatever owns it.
class Wakeup {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;
  static constexpr TimePoint kNever = TimePoint::max();

  explicit Wakeup(asio::any_io_executor executor) : executor_(std::move(executor)) {}
  Wakeup(const Wakeup&) = delete;
  Wakeup& operator=(const Wakeup&) = delete;

  // True when notified before the deadline.
  Task<bool> wait_until(TimePoint deadline) {
    Waiter waiter(*this, deadline);
    const auto [error] = co_await waiter.timer.async_wait(asio::as_tuple(asio::use_awaitable));
    co_return static_cast<bool>(error);
  }
  Task<void> wait() { co_await wait_until(kNever); }
  void notify() {
    for (asio::steady_timer* timer : waiting_) timer->cancel();
  }

 private:
  struct Waiter {
    Waiter(Wakeup& owner, TimePoint deadline)
        : wakeup(owner),
          timer(owner.executor_, deadline),
          at(owner.waiting_.insert(owner.waiting_.end(), &timer)) {}
    ~Waiter() { wakeup.waiting_.erase(at); }
    Wakeup& wakeup;
    asio::steady_timer timer;
    std::list<asio::steady_timer*>::iterator at;
  };
  asio::any_io_executor executor_;
  std::list<asio::steady_timer*> waiting_;
};

}  // namespace atl
