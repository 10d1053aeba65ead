#include "agent/process/process_table.h"

#include <algorithm>

namespace atl::agent {
namespace {

bool matches(const Process& process, const ::process::ProcessSelector& selector) {
  if (selector.has_tag()) return process.tag() == selector.tag();
  return static_cast<std::uint32_t>(process.pid()) == selector.pid();
}

}  // namespace

bool ProcessTable::reserve() {
  if (running_.size() + reserved_ >= kRunningMax) return false;
  ++reserved_;
  return true;
}

void ProcessTable::add(std::shared_ptr<Process> process) {
  --reserved_;
  const pid_t pid = process->pid();
  running_[pid] = std::move(process);
}

void ProcessTable::ended(const std::shared_ptr<Process>& process) {
  const auto found = running_.find(process->pid());
  // Another may have its number already, when its output was open for long after its exit.
  if (found != running_.end() && found->second == process) running_.erase(found);
  ended_.push_back(Ended{process, clock_.steady() + kEndedKept});
  drop_old();
}

void ProcessTable::drop_old() {
  while (!ended_.empty() && (ended_.size() > kEndedMax || ended_.front().until <= clock_.steady()))
    ended_.pop_front();
}

Result<std::shared_ptr<Process>> ProcessTable::find(const ::process::ProcessSelector& selector,
                                                    bool also_ended) {
  drop_old();
  if (selector.selector_case() == ::process::ProcessSelector::SELECTOR_NOT_SET)
    return make_error(Errc::invalid, "process: missing, a pid or a tag is required");
  if (selector.has_pid()) {
    const auto found = running_.find(static_cast<pid_t>(selector.pid()));
    if (found != running_.end()) return found->second;
  } else {
    for (const auto& [pid, process] : running_)
      if (matches(*process, selector)) return process;
  }
  if (also_ended)
    for (auto ended = ended_.rbegin(); ended != ended_.rend(); ++ended)
      if (matches(*ended->process, selector)) return ended->process;
  return make_error(Errc::not_found,
                    selector.has_tag() ? "process with tag '" + selector.tag() + "' not found"
                                       : "process with pid " + std::to_string(selector.pid()) + " not found");
}

void ProcessTable::list(::process::ListResponse& into) const {
  for (const auto& [pid, process] : running_) {
    if (!process->running()) continue;
    ::process::ProcessInfo& info = *into.add_processes();
    *info.mutable_config() = process->config();
    info.set_pid(static_cast<std::uint32_t>(pid));
    if (process->tag()) info.set_tag(*process->tag());
  }
}

}  // namespace atl::agent
