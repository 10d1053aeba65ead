#pragma once
#include <boost/asio/thread_pool.hpp>
#include <deque>
#include <map>

#include "base/blocking.h"
#include "base/clock.h"
#include "base/notifier.h"
#include "control/api.h"
#include "control/host_facts.h"
#include "control/idempotency_book.h"
#include "control/ids.h"
#include "control/key_ring.h"
#include "control/node_client.h"
#include "control/quota.h"
#include "control/sandbox_index.h"
#include "control/template_catalog.h"
#include "control/usage_history.h"
#include "store/store.h"

namespace atl::control {

// What the routes share: the parts that Api was built from, and what is kept in memory. Loop thread only.
struct Core {
  Core(asio::any_io_executor on, ApiOptions with, store::Store& records, NodeClient& sandboxes, const Clock& time)
      : executor(on), options(std::move(with)), store(records), node(sandboxes), clock(time), rate(time), node_changed_ms(now_ms()) {}

  asio::any_io_executor executor;
  const ApiOptions options;
  store::Store& store;
  NodeClient& node;
  const Clock& clock;
  asio::thread_pool store_pool{1};  // one thread: the store's calls keep their order
  asio::thread_pool file_pool{1};

  KeyRing keys;
  SandboxIndex index;
  IdempotencyBook idempotency;
  CreateRate rate;
  TemplateCatalog templates;
  std::map<std::string, store::TemplateUse> uses;
  std::int64_t keys_loaded_ms = 0, templates_loaded_ms = 0;

  UsageHistory history;
  // Two readings of the machine's clocks, at least one round of maintain() apart once there are two.
  CpuTimes cpu_before, cpu_last;
  std::int64_t creates_done = 0, creates_failed = 0;  // since the api's start
  const std::string service_id = new_uuid();          // of this run of the api

  bool node_connected = false;
  std::int64_t node_changed_ms;  // when that last changed
  bool synced = false;  // a backlog of events has been compared with the store once
  Notifier synced_now;

  // Sandboxes that the node must not have; follower.cpp removes them.
  std::deque<std::string> orphans;
  Notifier orphan_added;

  bool stopping = false;
  Notifier stop_now;
  int tasks = 0;  // requests and background tasks that still run
  Notifier task_ended;

  std::int64_t now_ms() const { return unix_millis(clock.wall()); }

  // Runs fn(store) on the store's thread. Copies are captured, never references.
  template <class Fn>
  auto on_store(Fn fn) {
    auto work = [store = &store, fn = std::move(fn)]() mutable { return fn(*store); };
    return run_blocking(store_pool, std::move(work));
  }

  Task<Status> load();  // everything, from the store
  Task<Status> load_keys();
  Task<Status> load_templates();
  void add_orphan(std::string id);
  void node_seen(bool connected);
};

// Changes of one sandbox that routes and events share.

// What the node says of a sandbox, put into its row.
void merge(store::Sandbox& row, const pb::Sandbox& seen);
// The row becomes `ended`, in memory and durably. `seen`: the node's last words, where there are any.
// Does nothing where it has ended already.
Task<Status> close_sandbox(Core& core, EntryPtr entry, std::string reason, const pb::Sandbox* seen);
// Ends it at the node first. Ok when it is gone.
Task<Status> end_sandbox(Core& core, EntryPtr entry, std::string reason);
// A new time of its end, at the node and then durably. Errc::not_found: it is not running any more.
Task<Status> set_end(Core& core, EntryPtr entry, std::int64_t end_ms, bool only_extend);
// A create that came to nothing: row and quota go, and the node is told.
Task<void> drop_create(Core& core, EntryPtr entry);

}  // namespace atl::control
