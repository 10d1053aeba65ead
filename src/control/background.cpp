#include <algorithm>
#include <utility>

#include "base/log.h"
#include "control/follower.h"

namespace atl::control {
namespace {

constexpr Millis kEvery{5000};
constexpr Millis kOrphanPause{1000};
constexpr int kFlushEvery = 12;  // rounds: once a minute
constexpr int kSampleEvery = 3;  // rounds: four times a minute

Task<void> flush_last_used(Core& core) {
  auto used = core.keys.take_used();
  if (used.empty()) co_return;
  auto write = [used = std::move(used)](store::Store& s) { return s.set_last_used(used); };
  const auto written = co_await core.on_store(std::move(write));
  if (!written.ok()) log_warn("keys' last use was not noted", {{"error", written.error().message}});
}

// The time before which ended sandboxes are forgotten, so that at most ended_max are kept.
std::int64_t forget_before(const Core& core, const std::vector<EntryPtr>& entries) {
  std::vector<std::int64_t> ends;
  for (const EntryPtr& entry : entries)
    if (entry->row.state == store::State::ended) ends.push_back(entry->row.ended_ms);
  const std::int64_t by_age = core.now_ms() - core.options.keep_ended.count();
  if (ends.size() <= core.options.ended_max) return by_age;
  const auto nth = ends.begin() + static_cast<std::ptrdiff_t>(ends.size() - core.options.ended_max);
  std::nth_element(ends.begin(), nth, ends.end());
  return std::max(by_age, *nth);
}

Task<void> prune(Core& core) {
  const std::int64_t made_before = core.now_ms() - core.options.keep_ended.count();
  core.idempotency.prune(made_before);
  const std::vector<EntryPtr> entries = core.index.all();
  const std::int64_t before = forget_before(core, entries);
  for (const EntryPtr& entry : entries) {
    const store::Sandbox& row = entry->row;
    if (row.state == store::State::ended && row.ended_ms < before && !core.idempotency.of_sandbox(row.id))
      core.index.remove(row.id);
  }
  auto write = [before, made_before](store::Store& s) { return s.prune(before, made_before); };
  const auto written = co_await core.on_store(std::move(write));
  if (!written.ok()) log_warn("old records were not removed", {{"error", written.error().message}});
}

}  // namespace

Task<void> sweep_orphans(Core& core) {
  while (!core.stopping) {
    if (core.orphans.empty()) {
      co_await core.orphan_added.wait(kEvery);
      continue;
    }
    const std::string id = core.orphans.front();
    // Destroy is fine for an id that the node does not know: failed creates pass here too.
    const auto gone = co_await core.node.destroy(id, "nobody owns it");
    if (gone.ok()) {
      core.orphans.pop_front();
      continue;
    }
    log_warn("a sandbox that nobody owns is still there", {{"sandbox", id}, {"error", gone.error().message}});
    std::rotate(core.orphans.begin(), core.orphans.begin() + 1, core.orphans.end());
    co_await core.stop_now.wait(kOrphanPause);
  }
}

Task<void> maintain(Core& core) {
  for (int round = 1; !core.stopping; ++round) {
    co_await core.stop_now.wait(kEvery);
    if (core.stopping) break;
    const auto read = co_await core.load_templates();
    if (!read.ok()) log_warn("templates were not read again", {{"error", read.error().message}});
    core.cpu_before = std::exchange(core.cpu_last, co_await run_blocking(core.file_pool, [] { return read_cpu_times(); }));
    if (round % kSampleEvery == 0) core.history.sample(core.index.take_activity(), core.now_ms());
    if (round % kFlushEvery != 0) continue;
    co_await flush_last_used(core);
    co_await prune(core);
  }
  co_await flush_last_used(core);
}

}  // namespace atl::control
