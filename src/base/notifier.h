#pragma once
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/steady_timer.hpp>
#include <list>
#include <memory>

#include "base/task.h"

namespace atl {

// Wakes coroutines that wait for a change. Loop thread only. A waiter looks at its condition, waits,
// and looks again. It may die before its waiters, as when a loop is destroyed last.
class Notifier {
 public:
  // True when notified, false when the time ran out (or the coroutine was cancelled).
  Task<bool> wait(Millis at_most) {
    Waiter waiter{asio::steady_timer(co_await asio::this_coro::executor, at_most), false};
    const auto place = waiters_->insert(waiters_->end(), &waiter);
    struct Leave {
      std::shared_ptr<std::list<Waiter*>> list;
      std::list<Waiter*>::iterator place;
      ~Leave() { list->erase(place); }
    } leave{waiters_, place};
    co_await waiter.timer.async_wait(asio::as_tuple(asio::use_awaitable));
    co_return waiter.notified;
  }
  void notify() {
    for (Waiter* w : *waiters_) {
      w->notified = true;
      w->timer.cancel();
    }
  }

 private:
  struct Waiter {
    asio::steady_timer timer;
    bool notified;
  };
  const std::shared_ptr<std::list<Waiter*>> waiters_ = std::make_shared<std::list<Waiter*>>();
};

// One at a time, in order of arrival. Loop thread only; it must outlive its holders.
class AsyncLock {
 public:
  static constexpr std::size_t kWaitersMax = 32;

  class Guard {
   public:
    explicit Guard(AsyncLock* lock) : lock_(lock) {}
    Guard(Guard&& other) noexcept : lock_(std::exchange(other.lock_, nullptr)) {}
    Guard& operator=(Guard&&) = delete;
    ~Guard() {
      if (lock_) lock_->release();
    }

   private:
    AsyncLock* lock_;
  };

  // Errc::exhausted when too many wait already, Errc::deadline when the turn did not come in time.
  Task<Result<Guard>> acquire(Millis at_most) {
    if (waiting_ >= kWaitersMax)
      co_return make_error(Errc::exhausted, "32 changes of this sandbox wait already");
    const auto until = std::chrono::steady_clock::now() + at_most;
    ++waiting_;
    const std::uint64_t ticket = next_ticket_++;
    tickets_.push_back(ticket);
    while (held_ || tickets_.front() != ticket) {
      const auto left = std::chrono::duration_cast<Millis>(until - std::chrono::steady_clock::now());
      if (left.count() <= 0) break;
      co_await turn_.wait(left);
    }
    --waiting_;
    const bool mine = !held_ && tickets_.front() == ticket;
    tickets_.remove(ticket);
    if (!mine) {
      turn_.notify();
      co_return make_error(Errc::deadline, "an earlier change of this sandbox has not ended yet");
    }
    held_ = true;
    co_return Guard(this);
  }

 private:
  void release() {
    held_ = false;
    turn_.notify();
  }

  Notifier turn_;
  std::list<std::uint64_t> tickets_;
  std::uint64_t next_ticket_ = 0;
  std::size_t waiting_ = 0;
  bool held_ = false;
};

}  // namespace atl
