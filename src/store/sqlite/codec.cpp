#include "store/sqlite/codec.h"

#include "base/json.h"

namespace atl::store {
namespace {

std::string text_of(const Pairs& pairs) {
  json::array out;
  for (const auto& [key, value] : pairs) {
    json::array pair;
    pair.emplace_back(key);
    pair.emplace_back(value);
    out.emplace_back(std::move(pair));
  }
  return json::serialize(out);
}

std::string text_of(const std::vector<std::string>& list) {
  json::array out;
  for (const std::string& item : list) out.emplace_back(item);
  return json::serialize(out);
}

Error damaged(const std::string& id, const char* column) {
  return make_error(Errc::internal, "database: sandbox " + id + " has a damaged column " + column);
}

Result<Pairs> parse_pairs(const std::string& id, const std::string& text) {
  auto parsed = parse_json(text);
  if (!parsed.ok() || !parsed->is_array()) return damaged(id, "metadata");
  Pairs out;
  for (const json::value& pair : parsed->as_array()) {
    if (!pair.is_array() || pair.as_array().size() != 2 || !pair.at(0).is_string() || !pair.at(1).is_string())
      return damaged(id, "metadata");
    out.emplace_back(std::string(pair.at(0).as_string()), std::string(pair.at(1).as_string()));
  }
  return out;
}

Result<std::vector<std::string>> parse_list(const std::string& id, const std::string& text) {
  auto parsed = parse_json(text);
  if (!parsed.ok() || !parsed->is_array()) return damaged(id, "deny_out");
  std::vector<std::string> out;
  for (const json::value& item : parsed->as_array()) {
    if (!item.is_string()) return damaged(id, "deny_out");
    out.emplace_back(item.as_string());
  }
  return out;
}

}  // namespace

SandboxTexts::SandboxTexts(const Sandbox& row) : metadata(text_of(row.metadata)), deny_out(text_of(row.deny_out)) {}

void bind_sandbox(Statement::Run& run, const Sandbox& row, const SandboxTexts& texts) {
  run.bind(row.id).bind(row.project_id).bind(row.template_id).bind(row.template_name);
  run.bind(name(row.state)).bind(row.tier).bind(row.vcpus).bind(row.memory_mb).bind(row.disk_mb);
  run.bind(row.created_ms).bind(row.started_ms).bind(row.end_ms).bind(row.ended_ms).bind(row.end_reason);
  run.bind(texts.metadata).bind(texts.deny_out);
  run.bind(std::int64_t{row.secure}).bind(std::int64_t{row.public_traffic}).bind(std::int64_t{row.internet_asked});
  run.bind(row.mask_request_host).bind(row.receipt_json);
  run.bind(row.oom_kills).bind(row.pids_refused).bind(std::int64_t{row.disk_full_seen});
}

Result<Sandbox> read_sandbox(const Statement::Run& run) {
  Sandbox row;
  int column = 0;
  const auto text = [&] { return run.text(column++); };
  const auto number = [&] { return run.number(column++); };
  row.id = text();
  row.project_id = text();
  row.template_id = text();
  row.template_name = text();
  const auto state = parse_state(text());
  if (!state) return damaged(row.id, "state");
  row.state = *state;
  row.tier = text();
  row.vcpus = number();
  row.memory_mb = number();
  row.disk_mb = number();
  row.created_ms = number();
  row.started_ms = number();
  row.end_ms = number();
  row.ended_ms = number();
  row.end_reason = text();
  TRY(row.metadata, parse_pairs(row.id, text()));
  TRY(row.deny_out, parse_list(row.id, text()));
  row.secure = number() != 0;
  row.public_traffic = number() != 0;
  row.internet_asked = number() != 0;
  row.mask_request_host = text();
  row.receipt_json = text();
  row.oom_kills = number();
  row.pids_refused = number();
  row.disk_full_seen = number() != 0;
  return row;
}

}  // namespace atl::store
