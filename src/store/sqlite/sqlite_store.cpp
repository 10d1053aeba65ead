#include "store/sqlite/sqlite_store.h"

#include "store/sqlite/codec.h"
#include "store/sqlite/database.h"
#include "store/sqlite/schema.h"

namespace atl::store {
namespace {

std::string insert_sandbox_sql() {
  std::string marks = "?";
  for (int i = 1; i < kSandboxColumnCount; ++i) marks += ",?";
  return std::string("INSERT INTO sandboxes (") + kSandboxColumns + ") VALUES (" + marks + ")";
}

// An upsert whose conflict is the rule; the caller has checked that the row is there.
std::string replace_sandbox_sql() {
  std::string sql = insert_sandbox_sql() + " ON CONFLICT(id) DO UPDATE SET ";
  std::string_view columns = kSandboxColumns;
  bool first = true;
  while (!columns.empty()) {
    const auto comma = columns.find(", ");
    const std::string column(columns.substr(0, comma));
    columns.remove_prefix(comma == std::string_view::npos ? columns.size() : comma + 2);
    if (column == "id") continue;
    if (!first) sql += ", ";
    first = false;
    sql += column + "=excluded." + column;
  }
  return sql;
}

constexpr const char* kKeyColumns =
    "id, project_id, name, hash, mask_prefix, mask_value_length, mask_value_prefix, mask_value_suffix, created_ms, "
    "last_used_ms";

// All statements, prepared once.
struct Statements {
  Statement add_project, add_key, remove_key, rename_key, set_last_used, insert_sandbox, replace_sandbox, has_sandbox;
  Statement add_idempotency, add_entry, add_use, remove_creating, entries, prune_idempotency, prune_sandboxes;
};

Result<Statements> prepare_all(Database& db) {
  const auto keys = std::string("INSERT INTO api_keys (") + kKeyColumns + ") VALUES (?,?,?,?,?,?,?,?,?,?)";
  TRY(auto add_project, Statement::prepare(db, "INSERT INTO projects (id, name, quota_sandboxes, quota_vcpus, "
      "quota_memory_mb, quota_creates_per_minute, created_ms) VALUES (?,?,?,?,?,?,?)"));
  TRY(auto add_key, Statement::prepare(db, keys));
  TRY(auto remove_key, Statement::prepare(db, "DELETE FROM api_keys WHERE project_id=?1 AND id=?2 AND "
                                                    "(SELECT count(*) FROM api_keys WHERE project_id=?1) > 1"));
  TRY(auto rename_key, Statement::prepare(db, "UPDATE api_keys SET name=?3 WHERE project_id=?1 AND id=?2"));
  TRY(auto set_last_used, Statement::prepare(db, "UPDATE api_keys SET last_used_ms=? WHERE id=?"));
  TRY(auto insert_sandbox, Statement::prepare(db, insert_sandbox_sql()));
  TRY(auto replace_sandbox, Statement::prepare(db, replace_sandbox_sql()));
  TRY(auto has_sandbox, Statement::prepare(db, "SELECT 1 FROM sandboxes WHERE id=?"));
  TRY(auto add_idempotency, Statement::prepare(db, "INSERT INTO idempotency (project_id, key, body_hash, sandbox_id, "
      "created_ms) VALUES (?,?,?,?,?)"));
  TRY(auto add_entry, Statement::prepare(db, "INSERT INTO entries (sandbox_id, unix_ms, level, message) VALUES (?,?,?,?)"));
  TRY(auto add_use, Statement::prepare(db, "INSERT INTO template_uses (template_id, spawned, last_ms) VALUES (?,1,?) "
      "ON CONFLICT(template_id) DO UPDATE SET spawned=spawned+1, last_ms=excluded.last_ms"));
  TRY(auto remove_creating, Statement::prepare(db, "DELETE FROM sandboxes WHERE id=? AND state='creating'"));
  TRY(auto entries, Statement::prepare(db, "SELECT unix_ms, level, message FROM entries WHERE sandbox_id=? ORDER BY seq "
      "LIMIT 1000"));
  TRY(auto prune_idempotency, Statement::prepare(db, "DELETE FROM idempotency WHERE created_ms<?"));
  TRY(auto prune_sandboxes, Statement::prepare(db, "DELETE FROM sandboxes WHERE state='ended' AND ended_ms<? AND NOT "
      "EXISTS (SELECT 1 FROM idempotency WHERE sandbox_id=sandboxes.id)"));
  return Statements{std::move(add_project), std::move(add_key), std::move(remove_key), std::move(rename_key), std::move(set_last_used),
                    std::move(insert_sandbox), std::move(replace_sandbox), std::move(has_sandbox),
                    std::move(add_idempotency), std::move(add_entry), std::move(add_use), std::move(remove_creating),
                    std::move(entries), std::move(prune_idempotency), std::move(prune_sandboxes)};
}

class SqliteStore final : public Store {
 public:
  SqliteStore(Database db, Statements statements) : db_(std::move(db)), sql_(std::move(statements)) {}

  Status add_project(const Project& project, const ApiKey& first_key) override {
    TRY(auto transaction, Transaction::begin(db_));
    {
      auto run = sql_.add_project.run();
      const Quota& quota = project.quota;
      run.bind(project.id).bind(project.name).bind(quota.sandboxes).bind(quota.vcpus).bind(quota.memory_mb);
      run.bind(quota.creates_per_minute).bind(project.created_ms);
      if (!run.complete()) return db_.failure("add project " + project.name);
    }
    CHECK_OK(insert_key(first_key));
    return transaction.commit();
  }

  Result<std::vector<Project>> projects() override {
    return all<Project>("SELECT id, name, quota_sandboxes, quota_vcpus, quota_memory_mb, quota_creates_per_minute, "
                        "created_ms FROM projects ORDER BY created_ms, id",
                        [](const Statement::Run& run) -> Result<Project> {
                          Project project{run.text(0), run.text(1), {}, run.number(6)};
                          project.quota = {run.number(2), run.number(3), run.number(4), run.number(5)};
                          return project;
                        });
  }

  Status add_key(const ApiKey& key) override { return insert_key(key); }

  Status remove_key(const std::string& project_id, const std::string& id) override {
    auto run = sql_.remove_key.run();
    if (!run.bind(project_id).bind(id).complete()) return db_.failure("remove a key");
    if (db_.changes() > 0) return ok();
    TRY(const std::vector<ApiKey> left, keys());
    const bool there = std::any_of(left.begin(), left.end(),
                                   [&](const ApiKey& key) { return key.project_id == project_id && key.id == id; });
    if (there) return make_error(Errc::conflict, "this is the project's last API key; create another one first");
    return make_error(Errc::not_found, "this project has no API key with that id");
  }

  Status rename_key(const std::string& project_id, const std::string& id, const std::string& name) override {
    auto run = sql_.rename_key.run();
    if (!run.bind(project_id).bind(id).bind(name).complete()) return db_.failure("rename a key");
    if (db_.changes() > 0) return ok();
    return make_error(Errc::not_found, "this project has no API key with that id");
  }

  Result<std::vector<ApiKey>> keys() override {
    return all<ApiKey>(std::string("SELECT ") + kKeyColumns + " FROM api_keys ORDER BY created_ms, id",
                       [](const Statement::Run& run) -> Result<ApiKey> {
                         ApiKey key{run.text(0), run.text(1), run.text(2), run.text(3), {}, run.number(8), run.number(9)};
                         key.mask = {run.text(4), run.number(5), run.text(6), run.text(7)};
                         return key;
                       });
  }

  Status set_last_used(const std::vector<std::pair<std::string, std::int64_t>>& key_ids_and_ms) override {
    TRY(auto transaction, Transaction::begin(db_));
    for (const auto& [id, ms] : key_ids_and_ms) {
      auto run = sql_.set_last_used.run();
      if (!run.bind(ms).bind(id).complete()) return db_.failure("note a key's use");
    }
    return transaction.commit();
  }

  Status begin_create(const Sandbox& row, const Idempotency* idempotency, const LogEntry& entry) override {
    TRY(auto transaction, Transaction::begin(db_));
    CHECK_OK(put(sql_.insert_sandbox, row));
    if (idempotency) {
      auto run = sql_.add_idempotency.run();
      run.bind(idempotency->project_id).bind(idempotency->key).bind(idempotency->body_hash);
      run.bind(idempotency->sandbox_id).bind(idempotency->created_ms);
      if (!run.complete()) return db_.failure("add an idempotency key");
    }
    CHECK_OK(insert_entry(entry));
    return transaction.commit();
  }

  Status finish_create(const Sandbox& row, const LogEntry& entry) override {
    TRY(auto transaction, Transaction::begin(db_));
    CHECK_OK(replace(row));
    CHECK_OK(insert_entry(entry));
    {
      auto run = sql_.add_use.run();
      if (!run.bind(row.template_id).bind(row.started_ms).complete()) return db_.failure("count a template's use");
    }
    return transaction.commit();
  }

  Status abort_create(const std::string& id) override {
    auto run = sql_.remove_creating.run();
    if (!run.bind(id).complete()) return db_.failure("remove sandbox " + id);
    return ok();
  }

  Status save(const Sandbox& row, const std::vector<LogEntry>& entries) override {
    TRY(auto transaction, Transaction::begin(db_));
    CHECK_OK(replace(row));
    for (const LogEntry& entry : entries) CHECK_OK(insert_entry(entry));
    return transaction.commit();
  }

  Result<std::vector<Sandbox>> sandboxes() override {
    return all<Sandbox>(std::string("SELECT ") + kSandboxColumns + " FROM sandboxes ORDER BY created_ms, id",
                        [](const Statement::Run& run) { return read_sandbox(run); });
  }

  Result<std::vector<Idempotency>> idempotency() override {
    return all<Idempotency>("SELECT project_id, key, body_hash, sandbox_id, created_ms FROM idempotency ORDER BY "
                            "created_ms, project_id, key",
                            [](const Statement::Run& run) -> Result<Idempotency> {
                              return Idempotency{run.text(0), run.text(1), run.text(2), run.text(3), run.number(4)};
                            });
  }

  Result<std::vector<LogEntry>> entries(const std::string& sandbox_id) override {
    std::vector<LogEntry> out;
    auto run = sql_.entries.run();
    run.bind(sandbox_id);
    while (run.row()) out.push_back({sandbox_id, run.number(0), run.text(1), run.text(2)});
    if (!run.done()) return db_.failure("read the entries of sandbox " + sandbox_id);
    return out;
  }

  Result<std::vector<TemplateUse>> template_uses() override {
    return all<TemplateUse>("SELECT template_id, spawned, last_ms FROM template_uses ORDER BY template_id",
                            [](const Statement::Run& run) -> Result<TemplateUse> {
                              return TemplateUse{run.text(0), run.number(1), run.number(2)};
                            });
  }

  Status prune(std::int64_t ended_before_ms, std::int64_t made_before_ms) override {
    TRY(auto transaction, Transaction::begin(db_));
    {
      auto run = sql_.prune_idempotency.run();
      if (!run.bind(made_before_ms).complete()) return db_.failure("prune idempotency keys");
    }
    {
      auto run = sql_.prune_sandboxes.run();
      if (!run.bind(ended_before_ms).complete()) return db_.failure("prune ended sandboxes");
    }
    return transaction.commit();
  }

 private:
  template <class T, class Read>
  Result<std::vector<T>> all(const std::string& sql, Read read) {
    TRY(auto statement, Statement::prepare(db_, sql));
    std::vector<T> out;
    auto run = statement.run();
    while (run.row()) {
      TRY(T row, read(run));
      out.push_back(std::move(row));
    }
    if (!run.done()) return db_.failure(sql.substr(0, 60));
    return out;
  }

  Status insert_key(const ApiKey& key) {
    auto run = sql_.add_key.run();
    run.bind(key.id).bind(key.project_id).bind(key.name).bind(key.hash).bind(key.mask.prefix);
    run.bind(key.mask.value_length).bind(key.mask.value_prefix).bind(key.mask.value_suffix);
    run.bind(key.created_ms).bind(key.last_used_ms);
    if (!run.complete()) return db_.failure("add an API key");
    return ok();
  }

  Status put(Statement& statement, const Sandbox& row) {
    const SandboxTexts texts(row);
    auto run = statement.run();
    bind_sandbox(run, row, texts);
    if (!run.complete()) return db_.failure("write sandbox " + row.id);
    return ok();
  }

  Status replace(const Sandbox& row) {
    {
      auto run = sql_.has_sandbox.run();
      if (!run.bind(row.id).row()) return make_error(Errc::not_found, "database: there is no sandbox " + row.id);
    }
    return put(sql_.replace_sandbox, row);
  }

  Status insert_entry(const LogEntry& entry) {
    auto run = sql_.add_entry.run();
    run.bind(entry.sandbox_id).bind(entry.unix_ms).bind(entry.level).bind(entry.message);
    if (!run.complete()) return db_.failure("write an entry of sandbox " + entry.sandbox_id);
    return ok();
  }

  Database db_;
  Statements sql_;  // after db_: finalized before it closes
};

}  // namespace

Result<std::unique_ptr<Store>> open_sqlite_store(const std::string& path) {
  auto db = Database::open(path);
  if (!db.ok()) return with_context(db.error(), "store " + path);
  auto migrated = migrate(*db);
  if (!migrated.ok()) return with_context(migrated.error(), "store " + path);
  TRY(auto statements, prepare_all(*db));
  return std::unique_ptr<Store>(std::make_unique<SqliteStore>(std::move(*db), std::move(statements)));
}

}  // namespace atl::store
