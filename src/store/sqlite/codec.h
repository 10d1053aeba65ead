#pragma once
#include "store/records.h"
#include "store/sqlite/database.h"

namespace atl::store {

// Rows of table `sandboxes`: one list of columns for reading and writing, so that they cannot drift.
inline constexpr const char* kSandboxColumns =
    "id, project_id, template_id, template_name, state, tier, vcpus, memory_mb, disk_mb, created_ms, started_ms, "
    "end_ms, ended_ms, end_reason, metadata, deny_out, secure, public_traffic, internet_asked, mask_request_host, "
    "receipt, oom_kills, pids_refused, disk_full_seen";
inline constexpr int kSandboxColumnCount = 24;

// The parts of a row that are kept as JSON; must live as long as the Run they are bound to.
struct SandboxTexts {
  explicit SandboxTexts(const Sandbox& row);
  std::string metadata, deny_out;
};
void bind_sandbox(Statement::Run& run, const Sandbox& row, const SandboxTexts& texts);
Result<Sandbox> read_sandbox(const Statement::Run& run);

}  // namespace atl::store
