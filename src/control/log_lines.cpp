#include "control/log_lines.h"

#include <algorithm>

#include "base/log.h"
#include "control/time_text.h"

namespace atl::control {
namespace {

constexpr std::size_t kLinesMax = 10'000;
constexpr std::size_t kLineBytesMax = 16 * 1024;
constexpr std::size_t kFieldsMax = 64;

std::string text_of(const json::value& value) {
  return value.is_string() ? std::string(value.as_string()) : json::serialize(value);
}

// JSON must not carry invalid UTF-8; the escaped text is valid, and parses back to the cleaned one.
std::string cleaned(std::string_view bytes) {
  auto parsed = parse_json("\"" + json_escape(bytes) + "\"");
  return parsed.ok() ? text_of(*parsed) : std::string();
}

void take_field(LogLine& line, std::string_view key, const json::value& value) {
  if (key == "level" && value.is_string() && level_rank(std::string_view(value.as_string())) >= 0) {
    line.level = value.as_string();
  } else if ((key == "msg" || key == "message") && value.is_string()) {
    line.message = value.as_string();
  } else if ((key == "logger" || key == "role") && value.is_string()) {
    line.logger = value.as_string();
  } else if ((key == "ts" || key == "timestamp") && value.is_string()) {
    if (const auto us = parse_rfc3339_us(std::string_view(value.as_string()))) line.unix_ms = *us / 1000;
  } else if (line.fields.size() < kFieldsMax) {
    line.fields[key] = text_of(value);
  }
}

LogLine parse_line(std::string_view text, std::int64_t at_ms) {
  LogLine line;
  line.unix_ms = at_ms;
  line.level = "info";
  line.logger = "agent";
  const bool cut = text.size() > kLineBytesMax;
  text = text.substr(0, kLineBytesMax);
  auto parsed = cut ? Result<json::value>(json::value(nullptr)) : parse_json(text);
  if (!parsed.ok() || !parsed->is_object()) {
    line.message = cleaned(text);
    return line;
  }
  for (const auto& [key, value] : parsed->as_object()) take_field(line, key, value);
  return line;
}

}  // namespace

int level_rank(std::string_view level) {
  constexpr std::string_view names[] = {"debug", "info", "warn", "error"};
  for (int i = 0; i < 4; ++i)
    if (level == names[i]) return i;
  return -1;
}

std::vector<LogLine> parse_log_lines(std::string_view text, std::int64_t from_ms) {
  std::vector<std::string_view> raw;
  while (!text.empty()) {
    const auto end = text.find('\n');
    if (end != 0) raw.push_back(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  std::vector<LogLine> out;
  std::int64_t at = from_ms;
  for (std::size_t i = raw.size() > kLinesMax ? raw.size() - kLinesMax : 0; i < raw.size(); ++i) {
    out.push_back(parse_line(raw[i], at));
    at = out.back().unix_ms;
  }
  return out;
}

LogLine entry_line(const store::LogEntry& entry) {
  LogLine line;
  line.unix_ms = entry.unix_ms;
  line.level = entry.level;
  line.logger = "atoll";
  line.message = entry.message;
  return line;
}

void sort_lines(std::vector<LogLine>& lines) {
  std::vector<std::pair<std::int64_t, std::size_t>> order;
  for (std::size_t i = 0; i < lines.size(); ++i) order.emplace_back(lines[i].unix_ms, i);
  std::sort(order.begin(), order.end());
  std::vector<LogLine> sorted;
  sorted.reserve(lines.size());
  for (const auto& [at, i] : order) sorted.push_back(std::move(lines[i]));
  lines = std::move(sorted);
}

std::string line_text(const LogLine& line) {
  json::object out = line.fields;
  out["level"] = line.level;
  out["logger"] = line.logger;
  out["message"] = line.message;
  return json::serialize(out);
}

}  // namespace atl::control
