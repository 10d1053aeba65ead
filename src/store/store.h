#pragma once
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "store/records.h"

namespace atl::store {

// The control plane's durable records. Every call blocks and is made on a pool thread, one at a
// time. When a changing call has returned ok, its change survives SIGKILL and loss of power; when
// it failed, nothing of it remains. Errc::unavailable: the database is busy, full or unreadable.
class Store {
 public:
  virtual ~Store() = default;

  // A project and its first key, together. Errc::exists: that id, name or hash is taken.
  virtual Status add_project(const Project& project, const ApiKey& first_key) = 0;
  virtual Result<std::vector<Project>> projects() = 0;

  virtual Status add_key(const ApiKey& key) = 0;                                       // Errc::exists
  virtual Status remove_key(const std::string& project_id, const std::string& id) = 0;  // Errc::not_found; Errc::conflict: its last
  virtual Status rename_key(const std::string& project_id, const std::string& id, const std::string& name) = 0;  // Errc::not_found
  virtual Result<std::vector<ApiKey>> keys() = 0;
  virtual Status set_last_used(const std::vector<std::pair<std::string, std::int64_t>>& key_ids_and_ms) = 0;

  // All that a create writes before the node is asked, in one commit. Errc::exists: that
  // sandbox id, or that project's idempotency key, is taken.
  virtual Status begin_create(const Sandbox& row, const Idempotency* idempotency, const LogEntry& entry) = 0;
  // The create succeeded: the row as the node made it, its entry, and its template's use.
  virtual Status finish_create(const Sandbox& row, const LogEntry& entry) = 0;
  // It did not: row, entries and idempotency record go. An unknown id is fine.
  virtual Status abort_create(const std::string& id) = 0;
  // Replaces the row (Errc::not_found: there is none) and appends the entries.
  virtual Status save(const Sandbox& row, const std::vector<LogEntry>& entries) = 0;

  virtual Result<std::vector<Sandbox>> sandboxes() = 0;  // in the order of their creation
  virtual Result<std::vector<Idempotency>> idempotency() = 0;
  virtual Result<std::vector<LogEntry>> entries(const std::string& sandbox_id) = 0;  // oldest first
  virtual Result<std::vector<TemplateUse>> template_uses() = 0;

  // Forgets idempotency records made, and then sandboxes ended, before these times. A sandbox that an
  // idempotency record names stays, since a repeat of that create is answered from it.
  virtual Status prune(std::int64_t ended_before_ms, std::int64_t made_before_ms) = 0;
};

}  // namespace atl::store
