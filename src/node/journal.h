#pragma once
#include <map>
#include <string>

#include "base/paths.h"
#include "isolation/driver.h"
#include "node/state.h"

namespace atl::node {

// All that the node must know of one sandbox after its own restart. Kept in journal.json of the
// sandbox's folder, mode 0600: it holds the tokens that the edge needs again.
struct Record {
  std::string id;
  State state = State::creating;
  isolation::Tier tier = isolation::Tier::container;
  std::string template_name, template_id, owner;
  isolation::Limits limits;
  std::uint32_t uid_base = 0;
  std::int64_t created_ms = 0, started_ms = 0, end_ms = 0, ended_ms = 0;  // unix time; 0 = not yet
  std::string boot_token, access_token, traffic_token, mask_request_host;
  ProcessId init;
  json::object receipt;
  std::string end_reason;
  std::int64_t oom_kills = 0, pids_refused = 0;
  bool disk_full_seen = false;
};

bool valid_id(std::string_view id);  // [a-z0-9]{1,64}

// Blocking. save: the node's death leaves either the old or the new record. It is not synced, since no
// sandbox outlives the host: after a crash of that an unreadable record, or none, is as good as one of a
// process that is gone.
Status save_record(const Paths& paths, const Record& record);
Result<Record> load_record(const Paths& paths, const std::string& id);
// Ids that have a folder, with a journal or not.
Result<std::vector<std::string>> recorded_ids(const Paths& paths);

std::string journal_text(const Record& record);
Result<Record> parse_journal(std::string_view text);

}  // namespace atl::node
