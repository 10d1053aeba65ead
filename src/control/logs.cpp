#include "base/log.h"
#include "control/log_lines.h"
#include "control/routes.h"
#include "control/time_text.h"

namespace atl::control {
namespace {

constexpr std::int64_t kLimitMost = 1000;
constexpr std::int64_t kLatestMs = 253'402'300'799'000;  // the end of the year 9999
constexpr std::size_t kSearchBytesMax = 256;

json::object entry_shape(const LogLine& line) {
  json::object fields = line.fields;
  fields["logger"] = line.logger;
  json::object out;
  out["timestamp"] = rfc3339(line.unix_ms);
  out["message"] = line.message;
  out["level"] = line.level;
  out["fields"] = std::move(fields);
  return out;
}

// What the control plane wrote down, and what process 1 said while the node remembers it.
Task<Result<std::vector<LogLine>>> all_lines(Core& core, EntryPtr entry) {
  const std::string id = entry->row.id;
  auto read = [id](store::Store& s) { return s.entries(id); };
  CO_TRY(const auto entries, co_await core.on_store(std::move(read)));
  std::vector<LogLine> lines;
  for (const store::LogEntry& one : entries) lines.push_back(entry_line(one));
  const auto said = co_await core.node.logs(id);
  if (said.ok()) {
    for (LogLine& line : parse_log_lines(*said, entry->row.created_ms)) lines.push_back(std::move(line));
  } else if (said.error().code != Errc::not_found) {
    co_return said.error();
  }
  sort_lines(lines);
  co_return lines;
}

struct LogQuery {
  std::int64_t cursor_ms = 0;
  std::size_t limit = 1000;
  bool backward = false;
  int least_level = 0;
  std::string search;
};

Result<LogQuery> parse_log_query(const rpc::Target& target) {
  LogQuery out;
  TRY(const auto limit, query_int(target, "limit", kLimitMost, 1, kLimitMost));
  out.limit = static_cast<std::size_t>(limit);
  const auto direction = target.param("direction");
  if (direction && *direction != "forward" && *direction != "backward")
    return make_error(Errc::invalid, "query parameter direction: expected forward or backward");
  out.backward = direction && *direction == "backward";
  TRY(out.cursor_ms, query_int(target, "cursor", out.backward ? kLatestMs : 0, 0, kLatestMs));
  if (const auto level = target.param("level")) {
    out.least_level = level_rank(*level);
    if (out.least_level < 0) return make_error(Errc::invalid, "query parameter level: expected debug, info, warn or error");
  }
  out.search = std::string(target.param("search").value_or(""));
  if (out.search.size() > kSearchBytesMax) return make_error(Errc::invalid, "query parameter search: longer than 256 bytes");
  return out;
}

bool wanted(const LogQuery& query, const LogLine& line) {
  const bool in_time = query.backward ? line.unix_ms <= query.cursor_ms : line.unix_ms >= query.cursor_ms;
  return in_time && level_rank(line.level) >= query.least_level &&
         (query.search.empty() || line.message.find(query.search) != std::string::npos);
}

}  // namespace

Task<Answer> logs_v1(Call& call) {
  const auto start = query_int(call.target, "start", 0, 0, kLatestMs);
  if (!start.ok()) co_return invalid(start.error());
  const auto limit = query_int(call.target, "limit", kLimitMost, 1, kLimitMost);
  if (!limit.ok()) co_return invalid(limit.error());
  const Found found = known_sandbox(call);
  if (!found.entry) co_return found.missing;
  const auto lines = co_await all_lines(call.core, found.entry);
  if (!lines.ok()) co_return failure(lines.error());
  json::array logs, entries;
  for (const LogLine& line : *lines) {
    if (line.unix_ms < *start || static_cast<std::int64_t>(logs.size()) == *limit) continue;
    json::object one;
    one["timestamp"] = rfc3339(line.unix_ms);
    one["line"] = line_text(line);
    logs.emplace_back(std::move(one));
    entries.emplace_back(entry_shape(line));
  }
  json::object out;
  out["logs"] = std::move(logs);
  out["logEntries"] = std::move(entries);
  co_return json_answer(200, out);
}

Task<Answer> logs_v2(Call& call) {
  const auto query = parse_log_query(call.target);
  if (!query.ok()) co_return invalid(query.error());
  const Found found = known_sandbox(call);
  if (!found.entry) co_return found.missing;
  auto lines = co_await all_lines(call.core, found.entry);
  if (!lines.ok()) co_return failure(lines.error());
  if (query->backward) std::reverse(lines->begin(), lines->end());
  json::array logs;
  for (const LogLine& line : *lines)
    if (logs.size() < query->limit && wanted(*query, line)) logs.emplace_back(entry_shape(line));
  json::object out;
  out["logs"] = std::move(logs);
  co_return json_answer(200, out);
}

}  // namespace atl::control
