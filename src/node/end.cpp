#include <utility>

#include "base/blocking.h"
#include "base/fs.h"
#include "node/node.h"

namespace atl::node {
namespace {

constexpr std::int64_t kRetryMs = 5000;
constexpr Millis kTurnWait{120'000};

}  // namespace

Task<Status> Node::destroy(std::string id, std::string reason) {
  // Its tidying is on its way, or will be tried again by tick().
  if (const auto it = sandboxes_.find(id); it != sandboxes_.end() && it->second->dead) co_return ok();
  CO_TRY(const SandboxPtr sandbox, co_await kill(std::move(id), std::move(reason)));
  if (!sandbox) co_return ok();
  ++tidying_;
  spawn(p_.executor, "tidying up after " + sandbox->record.id, tidy_in_background(sandbox));
  co_return ok();
}

Task<Status> Node::destroy_wholly(std::string id, std::string reason) {
  CO_TRY(const SandboxPtr sandbox, co_await kill(std::move(id), std::move(reason)));
  if (!sandbox) co_return ok();
  co_return co_await tidy(sandbox);
}

// nullptr: unknown, or ended already.
Task<Result<Node::SandboxPtr>> Node::kill(std::string id, std::string reason) {
  const auto it = sandboxes_.find(id);
  if (it == sandboxes_.end()) co_return SandboxPtr();
  const SandboxPtr sandbox = it->second;
  // A create that waits for its agent gives up at once.
  if (sandbox->record.state == State::creating) p_.hub.close(id);
  sandbox->end_asked = true;
  // Its tidying has the turn, which this need not wait for.
  if (sandbox->dead) co_return sandbox;
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
  if (!current || sandbox->record.state == State::ended) co_return SandboxPtr();
  if (!sandbox->dead) CO_CHECK_OK(co_await kill_now(sandbox, std::move(reason)));
  co_return sandbox;
}

Task<Status> Node::kill_now(SandboxPtr sandbox, std::string reason) {
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
  p_.failpoint("destroy: before the kill");
  CO_CHECK_OK(co_await driver->kill(r.id));
  sandbox->dead = true;
  p_.failpoint("destroy: after the kill");
  co_return ok();
}

Task<Status> Node::tidy(SandboxPtr sandbox) {
  ++tidying_;
  auto turn = co_await sandbox->lock.acquire(kTurnWait);
  Status status = ok();
  if (!turn.ok())
    status = turn.error();
  else if (sandbox->record.state != State::ended)
    status = co_await tidy_now(sandbox);
  --tidying_;
  tidied_.notify();
  co_return status;
}

Task<Status> Node::tidy_now(SandboxPtr sandbox) {
  Record& r = sandbox->record;
  p_.failpoint("tidy: before the driver");
  CO_CHECK_OK(co_await p_.tiers.driver(r.tier)->destroy(r.id));
  p_.failpoint("tidy: after the driver");
  Record ended = r;
  ended.state = State::ended;
  ended.ended_ms = now_ms();
  // The tokens are of no use any more, and a secret that is not kept cannot be lost.
  ended.boot_token = ended.access_token = ended.traffic_token = "";
  auto work = [paths = p_.config.paths, channel = channel_dir(r.id), ended]() -> Status {
    CHECK_OK(remove_tree(channel));
    return save_record(paths, ended);
  };
  CO_CHECK_OK(co_await run_blocking(p_.pool, std::move(work)));
  p_.failpoint("tidy: after the second journal");
  change(*sandbox, Change::removed);
  r = std::move(ended);
  give_back_range(*sandbox);
  log_info("sandbox ended", {{"sandbox", r.id}, {"reason", r.end_reason}});
  events_.publish(r);
  co_return ok();
}

Task<void> Node::tidy_in_background(SandboxPtr sandbox) {
  const auto status = co_await tidy(sandbox);
  --tidying_;
  tidied_.notify();
  if (status.ok()) co_return;
  log_error("an ended sandbox could not be tidied up, will be tried again",
            {{"sandbox", sandbox->record.id}, {"error", status.error().message}});
  sandbox->retry_ms = now_ms() + kRetryMs;
}

Task<void> Node::wait_tidied(Millis at_most) {
  const auto until = std::chrono::steady_clock::now() + at_most;
  while (tidying_ > 0) {
    const auto left = std::chrono::duration_cast<Millis>(until - std::chrono::steady_clock::now());
    if (left.count() <= 0) break;
    co_await tidied_.wait(left);
  }
}

// Ids go back once, by the sandbox that holds them. Where another lives on them too, which only damage or
// another uid_first explains, they become its own instead of being handed out.
void Node::give_back_range(Sandbox& sandbox) {
  if (!std::exchange(sandbox.holds_range, false)) return;
  for (const auto& [id, other] : sandboxes_) {
    if (other.get() == &sandbox || other->record.state == State::ended ||
        other->record.uid_base != sandbox.record.uid_base)
      continue;
    other->holds_range = true;
    return;
  }
  ranges_.give_back(sandbox.record.uid_base);
}

// Counters that are gone with the cgroup. A failure costs only these numbers.
Task<void> Node::last_look(SandboxPtr sandbox, isolation::Driver& driver) {
  const auto usage = co_await driver.usage(sandbox->record.id);
  if (!usage.ok()) co_return;
  sandbox->usage.add(now_ms(), *usage);
  note(*sandbox, *usage);
}

Task<void> Node::end_in_background(std::string id, std::string reason) {
  const auto status = co_await destroy_wholly(id, reason);
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
  // First all are dead; meanwhile those before are tidied up.
  for (const std::string& id : ids) (void)co_await destroy(id, reason);
  for (const std::string& id : ids) {
    const auto status = co_await destroy_wholly(id, reason);
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
