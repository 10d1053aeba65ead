#pragma once
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

namespace atl {

// One JSON object a line on standard error: ts, level, role, msg, then the fields. Values are
// escaped, so that a guest's bytes cannot forge a line or a terminal sequence. Library code
// returns errors; requests, named tasks and main log them, once. Never pass a secret.
enum class Level : std::uint8_t { debug, info, warn, error };

struct LogField {
  std::string_view key;
  std::string value;
  LogField(std::string_view k, std::string v) : key(k), value(std::move(v)) {}
  LogField(std::string_view k, std::string_view v) : key(k), value(v) {}
  LogField(std::string_view k, const char* v) : key(k), value(v) {}
  template <class N>
    requires std::is_arithmetic_v<N>
  LogField(std::string_view k, N n) : key(k), value(std::to_string(n)) {}
};
using LogFields = std::initializer_list<LogField>;

void log_configure(std::string role, Level least);
void log_line(Level level, std::string_view message, LogFields fields);
inline void log_debug(std::string_view m, LogFields f = {}) { log_line(Level::debug, m, f); }
inline void log_info(std::string_view m, LogFields f = {}) { log_line(Level::info, m, f); }
inline void log_warn(std::string_view m, LogFields f = {}) { log_line(Level::warn, m, f); }
inline void log_error(std::string_view m, LogFields f = {}) { log_line(Level::error, m, f); }

// The text with quotes, backslashes and control bytes escaped as in JSON; invalid UTF-8 becomes
// U+FFFD.
std::string json_escape(std::string_view text);

}  // namespace atl
