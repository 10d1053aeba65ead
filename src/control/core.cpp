#include "control/core.h"

#include "base/log.h"

namespace atl::control {

Task<Status> Core::load_keys() {
  using Both = Result<std::pair<std::vector<store::Project>, std::vector<store::ApiKey>>>;
  auto read = [](store::Store& s) -> Both {
    TRY(auto projects, s.projects());
    TRY(auto found, s.keys());
    return std::make_pair(std::move(projects), std::move(found));
  };
  keys_loaded_ms = now_ms();
  CO_TRY(auto both, co_await on_store(std::move(read)));
  keys.replace(std::move(both.first), std::move(both.second));
  co_return ok();
}

Task<Status> Core::load_templates() {
  templates_loaded_ms = now_ms();
  auto read = [dir = options.templates_dir] { return TemplateCatalog::read(dir); };
  CO_TRY(auto found, co_await run_blocking(file_pool, std::move(read)));
  templates.replace(std::move(found));
  co_return ok();
}

Task<Status> Core::load() {
  CO_CHECK_OK(co_await load_keys());
  auto read_rows = [](store::Store& s) { return s.sandboxes(); };
  CO_TRY(auto rows, co_await on_store(std::move(read_rows)));
  for (store::Sandbox& row : rows) {
    auto entry = std::make_shared<Entry>();
    entry->told.begin(row);
    entry->row = std::move(row);
    index.add(std::move(entry));
  }
  auto read_keyed = [](store::Store& s) { return s.idempotency(); };
  CO_TRY(auto records, co_await on_store(std::move(read_keyed)));
  for (store::Idempotency& record : records) {
    auto keyed = std::make_shared<Keyed>();
    const EntryPtr entry = index.find(record.sandbox_id);
    keyed->pending = entry && entry->row.state == store::State::creating;
    keyed->record = std::move(record);
    idempotency.add(std::move(keyed));
  }
  auto read_uses = [](store::Store& s) { return s.template_uses(); };
  CO_TRY(auto found, co_await on_store(std::move(read_uses)));
  for (store::TemplateUse& use : found) uses[use.template_id] = use;
  history.begin(now_ms());
  cpu_before = cpu_last = co_await run_blocking(file_pool, [] { return read_cpu_times(); });
  co_return co_await load_templates();
}

void Core::node_seen(bool connected) {
  if (node_connected == connected) return;
  node_connected = connected;
  node_changed_ms = now_ms();
}

void Core::add_orphan(std::string id) {
  for (const std::string& known : orphans)
    if (known == id) return;
  orphans.push_back(std::move(id));
  orphan_added.notify();
}

void merge(store::Sandbox& row, const pb::Sandbox& seen) {
  if (!seen.tier().empty()) row.tier = seen.tier();
  if (seen.started_unix_ms() > 0) row.started_ms = seen.started_unix_ms();
  if (seen.state() == "ended") row.ended_ms = seen.end_unix_ms();
  else if (seen.end_unix_ms() > 0) row.end_ms = seen.end_unix_ms();
  if (!seen.receipt_json().empty() && seen.receipt_json() != "{}") row.receipt_json = seen.receipt_json();
  if (seen.limits().vcpus() > 0) row.vcpus = seen.limits().vcpus();
  if (seen.limits().memory_bytes() > 0) row.memory_mb = seen.limits().memory_bytes() >> 20;
  if (seen.limits().disk_bytes() > 0) row.disk_mb = seen.limits().disk_bytes() >> 20;
  row.oom_kills = seen.oom_kills();
  row.pids_refused = seen.pids_refused();
  row.disk_full_seen = seen.disk_full_seen();
}

Task<Status> close_sandbox(Core& core, EntryPtr entry, std::string reason, const pb::Sandbox* seen) {
  if (entry->row.state == store::State::ended) co_return ok();
  store::Sandbox row = entry->row;
  if (seen) merge(row, *seen);
  row.state = store::State::ended;
  if (seen && !seen->end_reason().empty()) row.end_reason = seen->end_reason();
  if (row.end_reason.empty()) row.end_reason = std::move(reason);
  if (row.ended_ms == 0) row.ended_ms = core.now_ms();
  std::vector<store::LogEntry> lines;
  if (seen) lines = entry->told.news(row, seen->limits(), row.ended_ms);
  lines.push_back(end_line(row));
  // In memory first: whoever looks next must not find it. Should the write be lost, the next start
  // finds a row without a sandbox and comes to the same end.
  core.index.update(entry, row);
  log_info("sandbox ended", {{"sandbox", row.id}, {"project", row.project_id}, {"reason", row.end_reason}});
  auto write = [row, lines = std::move(lines)](store::Store& s) { return s.save(row, lines); };
  co_return co_await core.on_store(std::move(write));
}

Task<Status> end_sandbox(Core& core, EntryPtr entry, std::string reason) {
  CO_CHECK_OK(co_await core.node.destroy(entry->row.id, reason));
  co_return co_await close_sandbox(core, entry, std::move(reason), nullptr);
}

Task<Status> set_end(Core& core, EntryPtr entry, std::int64_t end_ms, bool only_extend) {
  CO_TRY(const pb::Sandbox seen, co_await core.node.set_end(entry->row.id, end_ms, only_extend));
  if (entry->row.state != store::State::running)
    co_return make_error(Errc::not_found, "sandbox " + entry->row.id + " ended meanwhile");
  store::Sandbox row = entry->row;
  row.end_ms = seen.end_unix_ms();
  if (row.end_ms == entry->row.end_ms) co_return ok();
  core.index.update(entry, row);
  auto write = [row = std::move(row)](store::Store& s) { return s.save(row, {}); };
  co_return co_await core.on_store(std::move(write));
}

Task<void> drop_create(Core& core, EntryPtr entry) {
  const std::string id = entry->row.id;
  core.index.remove(id);
  core.add_orphan(id);
  auto write = [id](store::Store& s) { return s.abort_create(id); };
  const auto written = co_await core.on_store(std::move(write));
  // The next start finds the row still `creating` and removes it.
  if (!written.ok()) log_error("row of a failed create", {{"sandbox", id}, {"error", written.error().message}});
}

}  // namespace atl::control
