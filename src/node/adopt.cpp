#include "base/blocking.h"
#include "base/fs.h"
#include "node/node.h"

namespace atl::node {

Task<Status> Node::adopt() {
  const Paths paths = p_.config.paths;
  auto list_ids = [paths]() -> Result<std::vector<std::string>> {
    CHECK_OK(make_dirs(paths.sandboxes_dir(), 0700));
    return recorded_ids(paths);
  };
  CO_TRY(std::vector<std::string> ids, co_await run_blocking(p_.pool, std::move(list_ids)));
  for (const std::string& id : ids) {
    auto load = [paths, id] { return load_record(paths, id); };
    auto record = co_await run_blocking(p_.pool, std::move(load));
    // Without a readable journal it is half made, or was being forgotten: remove_strays takes it.
    if (record.ok())
      co_await adopt_one(std::move(*record));
    else
      log_warn("sandbox folder without a journal", {{"sandbox", id}, {"error", record.error().message}});
  }
  co_await remove_strays();
  co_return ok();
}

Task<void> Node::adopt_one(Record record) {
  auto sandbox = std::make_shared<Sandbox>();
  sandbox->record = std::move(record);
  Record& r = sandbox->record;
  sandboxes_[r.id] = sandbox;
  if (r.state == State::ended) co_return;
  const auto held = ranges_.hold(r.uid_base);
  sandbox->holds_range = held.ok();
  if (!held.ok()) log_error("adopting", {{"sandbox", r.id}, {"error", held.error().message}});
  isolation::Driver* driver = p_.tiers.driver(r.tier);
  if (r.state == State::creating && driver) {
    log_warn("removing a half-made sandbox", {{"sandbox", r.id}});
    co_await undo(sandbox, *driver);
    co_return;
  }
  Error why = make_error(Errc::unsupported, "no driver for its tier");
  if (r.state == State::running && driver) {
    auto started = co_await driver->adopt(spec_of(r), r.init);
    Status opened =
        started.ok() ? p_.hub.open(channel_of(r), channel_dir(r.id), peer_check(r)) : started.error();
    if (opened.ok()) {
      r.init = started->init;
      if (!started->receipt.fields.empty()) r.receipt = std::move(started->receipt.fields);
      p_.hub.set_init(r.id, r.init.pid);
      watch_exit(sandbox);
      log_info("sandbox adopted", {{"sandbox", r.id}});
      co_return;
    }
    why = opened.error();
  }
  log_warn("removing a sandbox that is not whole", {{"sandbox", r.id}, {"why", why.message}});
  // The whole of it: what starts next finds a tidy host.
  co_await end_in_background(r.id, r.state == State::ending ? r.end_reason : "lost");
}

// What a driver or the folder knows and no journal does.
Task<void> Node::remove_strays() {
  for (const auto& driver : p_.tiers.drivers()) {
    const auto left = co_await driver->leftovers();
    for (const std::string& id : left) {
      const auto it = sandboxes_.find(id);
      if (it != sandboxes_.end() && it->second->record.state != State::ended) continue;
      log_warn("removing what has no journal", {{"sandbox", id}, {"tier", name(driver->tier())}});
      const auto removed = co_await driver->destroy(id);
      if (!removed.ok()) log_error("removing", {{"sandbox", id}, {"error", removed.error().message}});
    }
  }
  const Paths paths = p_.config.paths;
  auto list_ids = [paths] { return recorded_ids(paths); };
  const auto ids = co_await run_blocking(p_.pool, std::move(list_ids));
  if (!ids.ok()) co_return;
  for (const std::string& id : *ids)
    if (!sandboxes_.contains(id)) co_await forget(id);
}

}  // namespace atl::node
