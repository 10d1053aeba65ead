#include "store/sqlite/schema.h"

namespace atl::store {
namespace {

// Step n brings version n to n + 1. A step that was released is never edited.
constexpr const char* kSteps[] = {
    R"sql(
CREATE TABLE projects (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  quota_sandboxes INTEGER NOT NULL,
  quota_vcpus INTEGER NOT NULL,
  quota_memory_mb INTEGER NOT NULL,
  quota_creates_per_minute INTEGER NOT NULL,
  created_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE api_keys (
  id TEXT PRIMARY KEY,
  project_id TEXT NOT NULL REFERENCES projects(id) ON DELETE CASCADE,
  name TEXT NOT NULL,
  hash TEXT NOT NULL UNIQUE,
  mask_prefix TEXT NOT NULL,
  mask_value_length INTEGER NOT NULL,
  mask_value_prefix TEXT NOT NULL,
  mask_value_suffix TEXT NOT NULL,
  created_ms INTEGER NOT NULL,
  last_used_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX api_keys_by_project ON api_keys(project_id);

CREATE TABLE sandboxes (
  id TEXT PRIMARY KEY,
  project_id TEXT NOT NULL REFERENCES projects(id),
  template_id TEXT NOT NULL,
  template_name TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('creating', 'running', 'ending', 'ended')),
  tier TEXT NOT NULL,
  vcpus INTEGER NOT NULL,
  memory_mb INTEGER NOT NULL,
  disk_mb INTEGER NOT NULL,
  created_ms INTEGER NOT NULL,
  started_ms INTEGER NOT NULL,
  end_ms INTEGER NOT NULL,
  ended_ms INTEGER NOT NULL,
  end_reason TEXT NOT NULL,
  metadata TEXT NOT NULL,
  deny_out TEXT NOT NULL,
  secure INTEGER NOT NULL,
  public_traffic INTEGER NOT NULL,
  internet_asked INTEGER NOT NULL,
  mask_request_host TEXT NOT NULL,
  receipt TEXT NOT NULL,
  oom_kills INTEGER NOT NULL,
  pids_refused INTEGER NOT NULL,
  disk_full_seen INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sandboxes_by_project ON sandboxes(project_id);
CREATE INDEX sandboxes_ended ON sandboxes(ended_ms) WHERE state = 'ended';

CREATE TABLE idempotency (
  project_id TEXT NOT NULL REFERENCES projects(id) ON DELETE CASCADE,
  key TEXT NOT NULL,
  body_hash TEXT NOT NULL,
  sandbox_id TEXT NOT NULL REFERENCES sandboxes(id) ON DELETE CASCADE,
  created_ms INTEGER NOT NULL,
  PRIMARY KEY (project_id, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_by_sandbox ON idempotency(sandbox_id);
CREATE INDEX idempotency_by_time ON idempotency(created_ms);

CREATE TABLE entries (
  seq INTEGER PRIMARY KEY,
  sandbox_id TEXT NOT NULL REFERENCES sandboxes(id) ON DELETE CASCADE,
  unix_ms INTEGER NOT NULL,
  level TEXT NOT NULL,
  message TEXT NOT NULL
) STRICT;
CREATE INDEX entries_by_sandbox ON entries(sandbox_id, seq);

CREATE TABLE template_uses (
  template_id TEXT PRIMARY KEY,
  spawned INTEGER NOT NULL,
  last_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
)sql",
};

}  // namespace

std::int64_t schema_version() { return std::size(kSteps); }

Status migrate(Database& db) {
  while (true) {
    // Read inside the transaction: two processes may start at once.
    TRY(auto transaction, Transaction::begin(db));
    TRY(const std::int64_t found, db.number("PRAGMA user_version"));
    if (found == schema_version()) return ok();
    if (found > schema_version() || found < 0)
      return make_error(Errc::unsupported, "the database has schema version " + std::to_string(found) +
                                               ", this program knows up to " + std::to_string(schema_version()) +
                                               "; run the newer Atoll, or restore the copy made before its upgrade");
    CHECK_OK(db.execute(kSteps[found]));
    CHECK_OK(db.execute(("PRAGMA user_version = " + std::to_string(found + 1)).c_str()));
    CHECK_OK(transaction.commit());
  }
}

}  // namespace atl::store
