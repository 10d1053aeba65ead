#include "control/follower.h"

#include "base/log.h"

namespace atl::control {
namespace {

constexpr Millis kBackOffFirst{50};
constexpr Millis kBackOffMost{2000};

bool alive(const pb::Sandbox& seen) { return seen.state() == "running" || seen.state() == "creating"; }

}  // namespace

void Follower::cancel() {
  if (stream_) stream_->cancel();
}

Task<void> Follower::run() {
  Millis pause = kBackOffFirst;
  bool told = false;
  while (!core_.stopping) {
    const auto ended = co_await follow();
    if (core_.stopping) break;
    if (core_.node_connected) {
      pause = kBackOffFirst;
      told = false;
    }
    core_.node_seen(false);
    if (!told) log_warn("no events from the node, connecting again", {{"error", ended.error().message}});
    told = true;
    co_await core_.stop_now.wait(pause);
    pause = std::min(pause * 2, kBackOffMost);
  }
}

Task<Status> Follower::follow() {
  const std::uint64_t opened = core_.index.tick();
  CO_TRY(stream_, co_await core_.node.events());
  struct Close {
    std::unique_ptr<EventStream>& stream;
    ~Close() { stream.reset(); }
  } close{stream_};
  std::set<std::string> seen_alive;
  bool backlog = true;
  while (!core_.stopping) {
    CO_TRY(pb::Event event, co_await stream_->next());
    if (event.has_sandbox()) {
      if (backlog && event.sandbox().state() != "ended") seen_alive.insert(event.sandbox().id());
      pb::Sandbox seen = std::move(*event.mutable_sandbox());
      co_await on_event(std::move(seen));
    }
    if (!event.backlog_end() || !backlog) continue;
    backlog = false;
    co_await after_backlog(opened, std::move(seen_alive));
    core_.synced = true;
    core_.node_seen(true);
    core_.synced_now.notify();
    log_info("in step with the node", {{"sandboxes", core_.index.size()}});
  }
  co_return make_error(Errc::unavailable, "stopping");
}

Task<void> Follower::on_event(pb::Sandbox seen) {
  const EntryPtr entry = core_.index.find(seen.id());
  if (!entry) {
    if (alive(seen)) core_.add_orphan(seen.id());
    co_return;
  }
  if (entry->in_hand) {
    if (!alive(seen)) entry->ended_meanwhile = std::make_shared<pb::Sandbox>(std::move(seen));
    co_return;
  }
  const store::State state = entry->row.state;
  if (state == store::State::creating) {
    co_await on_leftover(entry, std::move(seen));
  } else if (state == store::State::ended) {
    if (alive(seen)) core_.add_orphan(seen.id());
  } else if (seen.state() == "ended") {
    const auto closed = co_await close_sandbox(core_, entry, "lost", &seen);
    if (!closed.ok()) log_error("end of a sandbox", {{"sandbox", seen.id()}, {"error", closed.error().message}});
  } else {
    store::Sandbox row = entry->row;
    merge(row, seen);
    if (seen.state() == "ending") row.state = store::State::ending;
    if (row == entry->row) co_return;
    auto lines = entry->told.news(row, seen.limits(), core_.now_ms());
    core_.index.update(entry, row);
    auto write = [row = std::move(row), lines = std::move(lines)](store::Store& s) { return s.save(row, lines); };
    const auto written = co_await core_.on_store(std::move(write));
    if (!written.ok()) log_error("news of a sandbox", {{"sandbox", seen.id()}, {"error", written.error().message}});
  }
}

// A create of an earlier api that was killed: nobody got its answer. With an idempotency key the
// client may ask again, so a sandbox that came to run is kept for that; any other is removed.
Task<void> Follower::on_leftover(EntryPtr entry, pb::Sandbox seen) {
  const KeyedPtr keyed = core_.idempotency.of_sandbox(entry->row.id);
  if (!keyed || seen.state() != "running") {
    if (keyed) {
      Answer answer = failure(503, "the control plane was restarted during this create; try again");
      core_.idempotency.failed(keyed, with_retry(std::move(answer), true));
    }
    co_await drop_create(core_, entry);
    co_return;
  }
  store::Sandbox row = entry->row;
  merge(row, seen);
  row.state = store::State::running;
  core_.index.update(entry, row);
  auto write = [row](store::Store& s) {
    return s.finish_create(row, {row.id, row.started_ms, "info", "sandbox started; the control plane was restarted meanwhile"});
  };
  const auto written = co_await core_.on_store(std::move(write));
  if (!written.ok()) log_error("row of a sandbox", {{"sandbox", row.id}, {"error", written.error().message}});
  core_.idempotency.succeeded(keyed);
}

Task<void> Follower::after_backlog(std::uint64_t opened, std::set<std::string> seen_alive) {
  for (const EntryPtr& entry : core_.index.all()) {
    const store::State state = entry->row.state;
    if (entry->in_hand || state == store::State::ended || seen_alive.contains(entry->row.id)) continue;
    if (state == store::State::creating) {
      pb::Sandbox gone;
      gone.set_id(entry->row.id);
      gone.set_state("ended");
      co_await on_leftover(entry, std::move(gone));
    } else if (entry->running_since < opened) {
      const auto closed = co_await close_sandbox(core_, entry, "lost", nullptr);
      if (!closed.ok()) log_error("end of a sandbox", {{"sandbox", entry->row.id}, {"error", closed.error().message}});
    }
  }
}

}  // namespace atl::control
