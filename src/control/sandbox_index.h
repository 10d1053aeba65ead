#pragma once
#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "control/limits_told.h"
#include "control/list_query.h"
#include "proto/node.pb.h"
#include "store/records.h"

namespace atl::control {

// A sandbox in memory. Rows of the store and events of the node meet here.
struct Entry {
  store::Sandbox row;
  // A create of this process has it in hand; events only leave their news here until it is done.
  bool in_hand = false;
  std::shared_ptr<node::v1::Sandbox> ended_meanwhile;
  // When it became known as running, counted by SandboxIndex::tick(): a backlog of events that began
  // earlier does not have it.
  std::uint64_t running_since = 0;
  LimitsTold told;
};
using EntryPtr = std::shared_ptr<Entry>;

struct Use {
  std::int64_t sandboxes = 0, vcpus = 0, memory_mb = 0;
};

// Every sandbox that the store knows, sorted for lists. Loop thread only. An entry's `row` is
// changed through update() alone, so that order and sums follow.
class SandboxIndex {
 public:
  void add(EntryPtr entry);
  void update(const EntryPtr& entry, store::Sandbox row);  // one that was removed stays removed
  void remove(const std::string& id);

  EntryPtr find(const std::string& id) const;                                // of any project
  EntryPtr find(const std::string& project_id, const std::string& id) const;  // nullptr for another's
  std::vector<EntryPtr> all() const;
  std::size_t size() const { return by_id_.size(); }

  // What a project holds now: everything that lives. What is `ending` is the node's to tidy up.
  Use use(const std::string& project_id) const;
  std::int64_t running(const std::string& project_id) const;
  // Over all projects: what is promised of this host, and how many of those run.
  Use use_of_all() const;
  std::int64_t running_of_all() const;
  // The end of the project's running sandbox that ends first; 0 = none has one. Linear.
  std::int64_t first_end_ms(const std::string& project_id) const;

  // What a project did since take_activity(): how many came to run, and the most that ran at once.
  struct Activity {
    std::int64_t most = 0, starts = 0;
  };
  Activity activity(const std::string& project_id) const;
  std::map<std::string, Activity> take_activity();  // of every project that ever had a sandbox

  struct Page {
    std::vector<EntryPtr> entries;
    std::optional<Cursor> next;      // absent on the last page
    std::int64_t running_total = 0;  // all that match, on any page
  };
  // Running sandboxes, newest first (id ascending within one time), or exactly the reverse.
  // `template_ids`: those that the query's template name means.
  Page list(const std::string& project_id, const ListQuery& query, const std::set<std::string>& template_ids) const;

  std::uint64_t tick() { return ++clock_; }

 private:
  struct Place {
    std::int64_t started_ms;
    std::string id;
    bool operator<(const Place& other) const {
      return started_ms != other.started_ms ? started_ms > other.started_ms : id < other.id;
    }
  };
  struct Project {
    std::map<Place, EntryPtr> running;
    Use use;
    Activity activity;
  };

  void count(const Entry& entry, int sign);

  std::unordered_map<std::string, EntryPtr> by_id_;
  std::unordered_map<std::string, Project> projects_;
  std::uint64_t clock_ = 0;
};

}  // namespace atl::control
