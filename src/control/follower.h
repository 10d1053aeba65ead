#pragma once
#include <set>

#include "control/core.h"

namespace atl::control {

// Follows the node's events until core.stopping, connecting again with back-off, and keeps index and
// store in step with them.
class Follower {
 public:
  explicit Follower(Core& core) : core_(core) {}
  Task<void> run();
  void cancel();

 private:
  Task<Status> follow();
  Task<void> on_event(pb::Sandbox seen);
  Task<void> on_leftover(EntryPtr entry, pb::Sandbox seen);
  Task<void> after_backlog(std::uint64_t opened, std::set<std::string> alive);

  Core& core_;
  std::unique_ptr<EventStream> stream_;
};

// Destroys core.orphans, one after another, until core.stopping.
Task<void> sweep_orphans(Core& core);

// Keys' last use, templates, and what is old: every few seconds until core.stopping.
Task<void> maintain(Core& core);

}  // namespace atl::control
