#pragma once
#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "base/json.h"

namespace atl::cli {

// Walks a sandbox's log forward by time: the server pages by milliseconds, in which several lines
// may share one, so what was shown of the last millisecond is remembered.
class LogCursor {
 public:
  std::string target(const std::string& id) const;
  // The entries of a reply {"logs": [...]} that were not seen before, in order.
  Result<std::vector<json::value>> take(const json::value& reply);
  // Whether the last reply was a full page, so that more may follow at once.
  bool more() const { return more_; }

 private:
  std::int64_t cursor_ms_ = 0;
  std::set<std::string> seen_at_cursor_;
  bool more_ = false;
};

// "12:03:44.120 info  text key=value": printable. Dim time where `colour`.
std::string render_log_entry(const json::value& entry, bool colour);

// Milliseconds of an RFC 3339 time; 0 where it is none.
std::int64_t millis_of(std::string_view rfc3339);

}  // namespace atl::cli
