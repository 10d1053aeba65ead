#pragma once
#include <sys/types.h>

#include <boost/asio/signal_set.hpp>
#include <functional>
#include <mutex>
#include <optional>
#include <unordered_map>

#include "base/result.h"
#include "base/task.h"

namespace atl::agent {

// Collects the status of every child: those that the process service started, and the orphans
// that process 1 inherits. One place calls waitpid, so nobody's status is stolen, and a number is
// never signalled after it was collected (and perhaps reused). Needs no pidfd (gVisor).
class Reaper {
 public:
  explicit Reaper(asio::any_io_executor executor);

  // Begins to listen for SIGCHLD, and makes this process the one that inherits orphans.
  void start();

  // fork() whose child cannot be collected before it is known here. Any thread. 0 in the child.
  pid_t fork_known();
  // Calls `ended` with the wait status on the loop: at once when it has ended already.
  void watch(pid_t pid, std::function<void(int)> ended);
  // Nobody asks for this child's status any more. Any thread.
  void forget(pid_t pid);
  // Signals a known child; false when it has been collected or is not known. Any thread.
  bool signal(pid_t pid, int signal_number);
  // The same for the group that the child leads.
  bool signal_group(pid_t pid, int signal_number);

 private:
  struct Child {
    std::optional<int> status;
    std::function<void(int)> ended;
  };
  void listen();
  void reap_slice();
  bool send(pid_t child, pid_t to, int signal_number);
  // One child collected: its callback where there is one. False: none is left to collect.
  bool reap_one();

  asio::any_io_executor executor_;
  asio::signal_set signals_;
  std::mutex mutex_;  // held for one system call at most
  std::unordered_map<pid_t, Child> children_;
};

}  // namespace atl::agent
