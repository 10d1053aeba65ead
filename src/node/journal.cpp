#include "node/journal.h"

#include "base/fs.h"
#include "base/limits.h"
#include "base/replace_file.h"

namespace atl::node {
namespace {

constexpr int kVersion = 1;
constexpr std::size_t kJournalBytesMax = 1u << 20;
constexpr auto kInt64Max = std::numeric_limits<std::int64_t>::max();

std::string file_of(const Paths& paths, const std::string& id) {
  return paths.sandbox_dir(id) + "/journal.json";
}

json::object limits_json(const isolation::Limits& l) {
  return {{"vcpus", l.vcpus},
          {"memoryBytes", l.memory_bytes},
          {"pids", l.pids},
          {"diskBytes", l.disk_bytes},
          {"inodes", l.inodes}};
}

Result<std::int64_t> number(const JsonReader& reader, std::string_view key) {
  TRY(auto value, reader.opt_int(key, 0, kInt64Max));
  if (!value) return make_error(Errc::invalid, reader.where(key) + ": missing");
  return *value;
}

Status read_limits(const JsonReader& reader, isolation::Limits& into) {
  TRY(auto object, reader.object("limits"));
  if (!object) return make_error(Errc::invalid, "limits: missing");
  TRY(into.vcpus, number(*object, "vcpus"));
  TRY(into.memory_bytes, number(*object, "memoryBytes"));
  TRY(into.pids, number(*object, "pids"));
  TRY(into.disk_bytes, number(*object, "diskBytes"));
  TRY(into.inodes, number(*object, "inodes"));
  return ok();
}

Status read_texts(const JsonReader& reader, Record& r) {
  TRY(r.id, reader.string("id", limits::id_bytes_max));
  TRY(r.template_name, reader.string("template"));
  TRY(r.template_id, reader.string("templateId"));
  TRY(r.owner, reader.string("owner"));
  TRY(r.boot_token, reader.string("bootToken"));
  TRY(r.access_token, reader.string("accessToken"));
  TRY(r.traffic_token, reader.string("trafficToken"));
  TRY(r.mask_request_host, reader.string("maskRequestHost"));
  TRY(r.end_reason, reader.string("endReason"));
  TRY(std::string state, reader.string("state"));
  TRY(std::string tier, reader.string("tier"));
  const auto known_state = parse_state(state);
  const auto known_tier = isolation::parse_tier(tier);
  if (!known_state || !known_tier || !valid_id(r.id))
    return make_error(Errc::invalid, "state, tier or id has no meaning here");
  r.state = *known_state;
  r.tier = *known_tier;
  return ok();
}

Status read_numbers(const JsonReader& reader, Record& r) {
  TRY(const std::int64_t uid_base, number(reader, "uidBase"));
  r.uid_base = static_cast<std::uint32_t>(uid_base);
  TRY(r.created_ms, number(reader, "createdMs"));
  TRY(r.started_ms, number(reader, "startedMs"));
  TRY(r.end_ms, number(reader, "endMs"));
  TRY(r.ended_ms, number(reader, "endedMs"));
  TRY(const std::int64_t pid, number(reader, "initPid"));
  TRY(const std::int64_t start, number(reader, "initStart"));
  r.init = ProcessId{static_cast<pid_t>(pid), static_cast<std::uint64_t>(start)};
  TRY(r.oom_kills, number(reader, "oomKills"));
  TRY(r.pids_refused, number(reader, "pidsRefused"));
  TRY(auto full, reader.opt_bool("diskFullSeen"));
  r.disk_full_seen = full.value_or(false);
  return ok();
}

}  // namespace

bool valid_id(std::string_view id) {
  if (id.empty() || id.size() > limits::id_bytes_max) return false;
  return id.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789") == id.npos;
}

std::string journal_text(const Record& r) {
  json::object out{{"version", kVersion},
                   {"id", r.id},
                   {"state", name(r.state)},
                   {"tier", isolation::name(r.tier)},
                   {"template", r.template_name},
                   {"templateId", r.template_id},
                   {"owner", r.owner},
                   {"limits", limits_json(r.limits)},
                   {"uidBase", static_cast<std::int64_t>(r.uid_base)},
                   {"createdMs", r.created_ms},
                   {"startedMs", r.started_ms},
                   {"endMs", r.end_ms},
                   {"endedMs", r.ended_ms},
                   {"bootToken", r.boot_token},
                   {"accessToken", r.access_token},
                   {"trafficToken", r.traffic_token},
                   {"maskRequestHost", r.mask_request_host},
                   {"initPid", static_cast<std::int64_t>(r.init.pid)},
                   {"initStart", static_cast<std::int64_t>(r.init.start_time)},
                   {"receipt", r.receipt},
                   {"endReason", r.end_reason},
                   {"oomKills", r.oom_kills},
                   {"pidsRefused", r.pids_refused},
                   {"diskFullSeen", r.disk_full_seen}};
  return json::serialize(out);
}

Result<Record> parse_journal(std::string_view text) {
  TRY(json::value value, parse_json(text));
  JsonReader reader(value);
  CHECK_OK(reader.require_object());
  TRY(const std::int64_t version, number(reader, "version"));
  if (version != kVersion)
    return make_error(Errc::unsupported,
                      "journal of version " + std::to_string(version) + ", this program reads 1");
  Record record;
  CHECK_OK(read_texts(reader, record));
  CHECK_OK(read_numbers(reader, record));
  CHECK_OK(read_limits(reader, record.limits));
  TRY(const json::value* receipt, reader.member("receipt"));
  if (receipt && receipt->is_object()) record.receipt = receipt->get_object();
  return record;
}

Status save_record(const Paths& paths, const Record& record) {
  auto status = replace_file(file_of(paths, record.id), journal_text(record), 0600);
  if (!status.ok()) return with_context(std::move(status).error(), "journal of sandbox " + record.id);
  return status;
}

Result<Record> load_record(const Paths& paths, const std::string& id) {
  TRY(std::string text, read_file(file_of(paths, id), kJournalBytesMax));
  auto record = parse_journal(text);
  if (!record.ok()) return with_context(std::move(record).error(), "journal of sandbox " + id);
  if (record->id != id)
    return make_error(Errc::invalid, "journal of sandbox " + id + " names another sandbox");
  return record;
}

Result<std::vector<std::string>> recorded_ids(const Paths& paths) {
  TRY(std::vector<std::string> names, list_dir(paths.sandboxes_dir()));
  std::erase_if(names, [](const std::string& n) { return !valid_id(n); });
  return names;
}

}  // namespace atl::node
