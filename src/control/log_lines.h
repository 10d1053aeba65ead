#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "store/records.h"

namespace atl::control {

// One line of a sandbox's log, from the control plane or from process 1. The latter's bytes are
// hostile: what is no JSON object becomes the message, and invalid UTF-8 is replaced.
struct LogLine {
  std::int64_t unix_ms = 0;
  std::string level;    // debug, info, warn, error
  std::string logger;
  std::string message;
  json::object fields;  // all else, strings
};

// Lines as the node keeps them; a line without a usable time gets the time of the one before, or
// `from_ms`. At most 10000 lines, the last ones, each cut at 16 KiB.
std::vector<LogLine> parse_log_lines(std::string_view text, std::int64_t from_ms);
LogLine entry_line(const store::LogEntry& entry);

// By time; within one time as given.
void sort_lines(std::vector<LogLine>& lines);

int level_rank(std::string_view level);  // debug 0 ... error 3; -1: unknown

// The line as a JSON object's text with `level`, `logger` and `message`, which E2B's CLI expects.
std::string line_text(const LogLine& line);

}  // namespace atl::control
