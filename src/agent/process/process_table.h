#pragma once
#include <deque>
#include <memory>
#include <unordered_map>

#include "agent/process/process.h"
#include "proto/process.pb.h"

namespace atl::agent {

// The commands that run, and for 30 s those that ended, so that a client can still learn how.
class ProcessTable {
 public:
  static constexpr std::size_t kRunningMax = 4096;
  static constexpr std::size_t kEndedMax = 1024;  // the oldest goes first
  static constexpr std::chrono::seconds kEndedKept{30};

  explicit ProcessTable(const Clock& clock) : clock_(clock) {}

  // A place for a command that is being started: false when kRunningMax are there. Given back by
  // add, or by cancel where the start failed.
  bool reserve();
  void cancel() { --reserved_; }
  void add(std::shared_ptr<Process> process);
  void ended(const std::shared_ptr<Process>& process);

  // Errc::not_found names the selector. Ended ones only with `also_ended`.
  Result<std::shared_ptr<Process>> find(const ::process::ProcessSelector& selector, bool also_ended);
  void list(::process::ListResponse& into) const;

 private:
  struct Ended {
    std::shared_ptr<Process> process;
    std::chrono::steady_clock::time_point until;
  };
  void drop_old();

  const Clock& clock_;
  std::size_t reserved_ = 0;
  std::unordered_map<pid_t, std::shared_ptr<Process>> running_;
  std::deque<Ended> ended_;
};

}  // namespace atl::agent
