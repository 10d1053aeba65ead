#include "base/wakeup.h"

#include <gtest/gtest.h>

#include "base/deadline.h"

namespace atl {
namespace {

using namespace asio::experimental::awaitable_operators;

struct Board {
  explicit Board(asio::any_io_executor executor) : changed(std::move(executor)) {}
  Wakeup changed;
  bool ready = false;
  int woken = 0;
};

Task<void> wait_for_it(std::shared_ptr<Board> board) {
  while (!board->ready) co_await board->changed.wait();
  ++board->woken;
}

TEST(Wakeup, EveryWaiterWakesAndNoneBeforeItsTime) {
  asio::io_context loop;
  auto board = std::make_shared<Board>(loop.get_executor());
  for (int i = 0; i < 100; ++i) spawn(loop.get_executor(), "waiter", wait_for_it(board));
  loop.poll();
  board->changed.notify();  // the condition does not hold yet
  loop.poll();
  EXPECT_EQ(board->woken, 0);
  board->ready = true;
  board->changed.notify();
  loop.run();
  EXPECT_EQ(board->woken, 100);
}

TEST(Wakeup, ADeadlineAndACancelledWaitEndIt) {
  asio::io_context loop;
  auto board = std::make_shared<Board>(loop.get_executor());
  std::optional<bool> in_time;
  auto late = [](std::shared_ptr<Board> on, std::optional<bool>& out) -> Task<void> {
    out = co_await on->changed.wait_until(std::chrono::steady_clock::now() + Millis(5));
  };
  spawn(loop.get_executor(), "late", late(board, in_time));
  bool cancelled = false;
  auto race = [](std::shared_ptr<Board> on, bool& out) -> Task<void> {
    auto forever = wait_for_it(on);
    auto soon = sleep_for(Millis(5));
    const auto first = co_await (std::move(forever) || std::move(soon));
    out = first.index() == 1;
  };
  spawn(loop.get_executor(), "race", race(board, cancelled));
  loop.run();
  EXPECT_EQ(in_time, false);
  EXPECT_TRUE(cancelled);
  board->changed.notify();  // nobody is left in it
  EXPECT_EQ(board->woken, 0);
}

// The loop may go while coroutines still wait: their frames own the board to the last.
TEST(Wakeup, ALoopThatEndsTakesItsWaitersWithIt) {
  std::weak_ptr<Board> left;
  {
    asio::io_context loop;
    auto board = std::make_shared<Board>(loop.get_executor());
    left = board;
    spawn(loop.get_executor(), "waiter", wait_for_it(std::move(board)));
    loop.poll();
    EXPECT_FALSE(left.expired());
  }
  EXPECT_TRUE(left.expired());
}

Task<Result<int>> quick() {
  co_return 7;
}
Task<Result<int>> slow() {
  const bool cancelled = co_await sleep_for(Millis(60'000));
  if (cancelled) co_return make_error(Errc::internal, "cancelled");
  co_return 8;
}
Task<Result<int>> broken() {
  co_await sleep_for(Millis(0));
  throw std::runtime_error("a bug");
}

TEST(Within, GivesTheOutcomeTheDeadlineOrTheException) {
  asio::io_context loop;
  int value = 0;
  std::string error, thrown;
  auto work = [](int& v, std::string& e, std::string& t) -> Task<void> {
    const auto good = co_await within(Millis(1000), "quick", quick());
    if (good.ok()) v = *good;
    const auto late = co_await within(Millis(5), "slow", slow());
    if (!late.ok() && late.error().code == Errc::deadline) e = late.error().message;
    try {
      const auto none = co_await within(Millis(60'000), "broken", broken());
      EXPECT_FALSE(none.ok());
    } catch (const std::runtime_error& failure) {
      t = failure.what();
    }
  };
  spawn(loop.get_executor(), "test", work(value, error, thrown));
  loop.run_for(std::chrono::seconds(5));
  EXPECT_EQ(value, 7);
  EXPECT_EQ(error, "slow: no answer within 5 ms");
  EXPECT_EQ(thrown, "a bug");
}

}  // namespace
}  // namespace atl
