#pragma once
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <exception>
#include <string>

#include "base/log.h"
#include "base/result.h"

namespace atl {

namespace asio = boost::asio;
template <class T>
using Task = asio::awaitable<T>;
using Millis = std::chrono::milliseconds;

// Starts a coroutine of its own on `executor`. It has a name, and an exception that leaves it
// (which is a bug) is logged with that name: nothing vanishes as with asio::detached.
template <class Work>
void spawn(asio::any_io_executor executor, std::string task_name, Work&& work) {
  asio::co_spawn(executor, std::forward<Work>(work),
                 [task_name = std::move(task_name)](std::exception_ptr failure) {
                   if (!failure) return;
                   try {
                     std::rethrow_exception(failure);
                   } catch (const std::exception& e) {
                     log_error("task failed", {{"task", task_name}, {"error", e.what()}});
                   }
                 });
}

// Waits that long on the coroutine's own executor. Returns early, and true, when cancelled.
Task<bool> sleep_for(Millis duration);

}  // namespace atl
