#include "base/blocking.h"
#include "base/fs.h"
#include "node/node.h"

namespace atl::node {
namespace {

constexpr std::int64_t kRetryMs = 5000;
constexpr Millis kTurnWait{120'000};

}  // namespace

Task<Status> Node::destroy(std::string id, std::string reason) {
  const auto it = sandboxes_.find(id);
  if (it == sandboxes_.end()) co_return ok();
  const SandboxPtr sandbox = it->second;
  // A create that waits for its agent gives up at once.
  if (sandbox->record.state == State::creating) p_.hub.close(id);
  sandbox->end_asked = true;
  auto turn = co_await sandbox->lock.acquire(kTurnWait);
  if (!turn.ok()) {
    // Too many changes wait: this end was not carried out, and a sandbox whose end was asked for is
    // not left to outlive its time. tick() tries again.
    sandbox->retry_ms = now_ms() + kRetryMs;
    if (sandbox->record.end_reason.empty()) sandbox->record.end_reason = std::move(reason);
    co_return std::move(turn).error();
  }
  const auto known = sandboxes_.find(id);
  const bool current = known != sandboxes_.end() && known->second == sandbox;
  if (!current || sandbox->record.state == State::ended) co_return ok();
  co_return co_await end(sandbox, std::move(reason));
}

Task<Status> Node::end(SandboxPtr sandbox, std::string reason) {
  Record& r = sandbox->record;
  isolation::Driver* driver = p_.tiers.driver(r.tier);
  if (!driver)
    co_return make_error(Errc::unsupported,
                         "sandbox " + r.id + ": no driver for its tier " + std::string(name(r.tier)));
  if (sandbox->exit_watch) {
    boost::system::error_code ignored;
    sandbox->exit_watch->close(ignored);
    sandbox->exit_watch.reset();
  }
  if (r.state == State::running) co_await last_look(sandbox, *driver);
  change(*sandbox, Change::end);
  if (r.end_reason.empty()) r.end_reason = std::move(reason);
  sandbox->retry_ms = now_ms() + kRetryMs;
  events_.publish(r);
  p_.failpoint("destroy: before the journal");
  // A full disk must not keep a sandbox alive: ending it is what makes room. After a crash the old
  // journal leads to the same end, since process 1 is found dead.
  if (const auto saved = co_await save(r); !saved.ok())
    log_warn("journal of an ending sandbox, carrying on", {{"sandbox", r.id}, {"error", saved.error().message}});
  p_.failpoint("destroy: after the journal");
  p_.hub.close(r.id);
  p_.failpoint("destroy: before the driver");
  CO_CHECK_OK(co_await driver->destroy(r.id));
  p_.failpoint("destroy: after the driver");
  const std::string channel = channel_dir(r.id);
  auto work = [channel] { return remove_tree(channel); };
  CO_CHECK_OK(co_await run_blocking(p_.pool, std::move(work)));
  Record ended = r;
  ended.state = State::ended;
  ended.ended_ms = now_ms();
  // The tokens are of no use any more, and a secret that is not kept cannot be lost.
  ended.boot_token = ended.access_token = ended.traffic_token = "";
  CO_CHECK_OK(co_await save(ended));
  p_.failpoint("destroy: after the second journal");
  change(*sandbox, Change::removed);
  r = std::move(ended);
  ranges_.give_back(r.uid_base);
  log_info("sandbox ended", {{"sandbox", r.id}, {"reason", r.end_reason}});
  events_.publish(r);
  co_return ok();
}

// Counters that are gone with the cgroup. A failure costs only these numbers.
Task<void> Node::last_look(SandboxPtr sandbox, isolation::Driver& driver) {
  const auto usage = co_await driver.usage(sandbox->record.id);
  if (!usage.ok()) co_return;
  sandbox->usage.add(now_ms(), *usage);
  sandbox->record.oom_kills = usage->oom_kills;
  sandbox->record.pids_refused = usage->pids_refused;
}

Task<void> Node::end_in_background(std::string id, std::string reason) {
  const auto status = co_await destroy(id, reason);
  if (status.ok()) co_return;
  log_error("sandbox could not be ended, will be tried again",
            {{"sandbox", id}, {"error", status.error().message}});
  // end_asked stays: tick() tries again for as long as it is set, whatever asked for the end.
  if (const auto it = sandboxes_.find(id); it != sandboxes_.end()) it->second->retry_ms = now_ms() + kRetryMs;
}

Task<void> Node::forget(std::string id) {
  const auto removed = co_await remove_folder(id);
  if (!removed.ok())
    log_error("folder of an ended sandbox", {{"sandbox", id}, {"error", removed.error().message}});
}

void Node::tick() {
  const std::int64_t now = now_ms();
  std::vector<std::pair<std::int64_t, std::string>> ended;
  for (auto& [id, s] : sandboxes_) {
    const Record& r = s->record;
    const bool due = r.state == State::running && r.end_ms > 0 && r.end_ms <= now && !s->end_asked;
    const bool again = s->retry_ms > 0 && s->retry_ms <= now &&
                       (r.state == State::ending || (r.state == State::running && s->end_asked));
    if (due || again) {
      s->end_asked = true;
      s->retry_ms = now + kRetryMs;
      spawn(p_.executor, "end of " + id, end_in_background(id, due ? "timeout" : r.end_reason));
    }
    if (r.state == State::ended) ended.emplace_back(r.ended_ms, id);
  }
  std::sort(ended.begin(), ended.end());
  const std::size_t surplus = ended.size() > kEndedMax ? ended.size() - kEndedMax : 0;
  for (std::size_t i = 0; i < ended.size(); ++i) {
    if (i >= surplus && ended[i].first + kRemember.count() > now) break;
    sandboxes_.erase(ended[i].second);
    spawn(p_.executor, "forgetting " + ended[i].second, forget(ended[i].second));
  }
}

Task<void> Node::destroy_all(std::string reason) {
  std::vector<std::string> ids;
  for (auto& [id, s] : sandboxes_)
    if (s->record.state != State::ended) ids.push_back(id);
  for (const std::string& id : ids) {
    const auto status = co_await destroy(id, reason);
    if (!status.ok())
      log_error("sandbox could not be ended", {{"sandbox", id}, {"error", status.error().message}});
  }
}

Task<Result<Record>> Node::set_end(std::string id, std::int64_t end_ms, bool only_extend) {
  const auto it = sandboxes_.find(id);
  if (it == sandboxes_.end()) co_return make_error(Errc::not_found, "sandbox " + id + " is not on this node");
  const SandboxPtr sandbox = it->second;
  CO_TRY(auto turn, co_await sandbox->lock.acquire(Millis(20'000)));
  if (sandbox->record.state != State::running)
    co_return make_error(Errc::not_found,
                         "sandbox " + id + " is not running: " + std::string(name(sandbox->record.state)));
  if (end_ms <= 0) co_return make_error(Errc::invalid, "end_unix_ms: a time expected");
  if (only_extend && (sandbox->record.end_ms == 0 || end_ms <= sandbox->record.end_ms))
    co_return sandbox->record;
  Record changed = sandbox->record;
  changed.end_ms = end_ms;
  CO_CHECK_OK(co_await save(changed));
  sandbox->record.end_ms = end_ms;
  events_.publish(sandbox->record);
  co_return sandbox->record;
}

}  // namespace atl::node
