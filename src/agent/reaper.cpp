#include "agent/reaper.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/post.hpp>

namespace atl::agent {
namespace {
// Of a bomb of orphans at most so many are collected before other work gets its turn.
constexpr int kSlice = 256;
}  // namespace

Reaper::Reaper(asio::any_io_executor executor) : executor_(executor), signals_(executor, SIGCHLD) {}

void Reaper::start() {
  // Process 1 inherits anyway; elsewhere (tests) this makes it the same.
  ::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  listen();
  asio::post(executor_, [this] { reap_slice(); });
}

void Reaper::listen() {
  signals_.async_wait([this](const boost::system::error_code& error, int) {
    if (error) return;
    listen();
    reap_slice();
  });
}

void Reaper::reap_slice() {
  for (int count = 0; count < kSlice; ++count)
    if (!reap_one()) return;
  asio::post(executor_, [this] { reap_slice(); });
}

bool Reaper::reap_one() {
  int status = 0;
  std::function<void(int)> ended;
  {
    const std::lock_guard lock(mutex_);
    const pid_t pid = ::waitpid(-1, &status, WNOHANG | __WALL);
    if (pid <= 0) return pid < 0 && errno == EINTR;
    const auto found = children_.find(pid);
    if (found == children_.end()) return true;  // an orphan
    if (found->second.ended) {
      ended = std::move(found->second.ended);
      children_.erase(found);
    } else {
      found->second.status = status;
    }
  }
  if (ended) ended(status);
  return true;
}

pid_t Reaper::fork_known() {
  const std::lock_guard lock(mutex_);
  const pid_t pid = ::fork();
  if (pid > 0) children_[pid] = Child{};
  return pid;
}

void Reaper::watch(pid_t pid, std::function<void(int)> ended) {
  std::optional<int> status;
  {
    const std::lock_guard lock(mutex_);
    const auto found = children_.find(pid);
    if (found == children_.end()) return;
    if (found->second.status) {
      status = found->second.status;
      children_.erase(found);
    } else {
      found->second.ended = std::move(ended);
    }
  }
  if (status) ended(*status);
}

void Reaper::forget(pid_t pid) {
  const std::lock_guard lock(mutex_);
  children_.erase(pid);
}

bool Reaper::signal(pid_t pid, int signal_number) {
  return send(pid, pid, signal_number);
}

bool Reaper::signal_group(pid_t pid, int signal_number) {
  return send(pid, -pid, signal_number);
}

bool Reaper::send(pid_t child, pid_t to, int signal_number) {
  const std::lock_guard lock(mutex_);
  const auto found = children_.find(child);
  if (found == children_.end() || found->second.status) return false;
  return ::kill(to, signal_number) == 0;
}

}  // namespace atl::agent
