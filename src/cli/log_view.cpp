#include "cli/log_view.h"

#include <fmt/format.h>

#include "cli/duration.h"
#include "cli/fields.h"
#include "cli/text.h"

namespace atl::cli {

constexpr std::size_t kPageEntries = 1000;

std::int64_t millis_of(std::string_view rfc3339) {
  const auto seconds = parse_rfc3339(rfc3339);
  if (!seconds.ok()) return 0;
  std::int64_t fraction = 0;
  if (rfc3339.size() > 20 && rfc3339[19] == '.') {
    std::int64_t unit = 100;
    for (std::size_t at = 20; at < rfc3339.size() && rfc3339[at] >= '0' && rfc3339[at] <= '9'; ++at, unit /= 10)
      fraction += (rfc3339[at] - '0') * unit;
  }
  return *seconds * 1000 + fraction;
}

std::string LogCursor::target(const std::string& id) const {
  return fmt::format("/v2/sandboxes/{}/logs?direction=forward&limit={}&cursor={}", id, kPageEntries, cursor_ms_);
}

Result<std::vector<json::value>> LogCursor::take(const json::value& reply) {
  const json::value* logs = member_of(reply, "logs");
  if (!logs || !logs->is_array()) return make_error(Errc::internal, "the answer holds no list of log entries");
  std::vector<json::value> fresh;
  for (const json::value& entry : logs->as_array()) {
    const std::int64_t at = millis_of(text_field(entry, "timestamp"));
    std::string text = json::serialize(entry);
    if (at < cursor_ms_ || (at == cursor_ms_ && seen_at_cursor_.contains(text))) continue;
    if (at > cursor_ms_) seen_at_cursor_.clear();
    cursor_ms_ = at;
    seen_at_cursor_.insert(std::move(text));
    fresh.push_back(entry);
  }
  // A page full of one millisecond's lines would come back for ever: step over it.
  more_ = logs->as_array().size() >= kPageEntries;
  if (more_ && fresh.empty()) {
    ++cursor_ms_;
    seen_at_cursor_.clear();
  }
  return fresh;
}

std::string render_log_entry(const json::value& entry, bool colour) {
  const std::string time = printable(text_field(entry, "timestamp"));
  const std::string level = printable(text_field(entry, "level"));
  std::string out = colour ? "\x1b[2m" + time + "\x1b[0m" : time;
  out += fmt::format(" {:<5} {}", level, printable(text_field(entry, "message")));
  const json::value* fields = member_of(entry, "fields");
  if (fields && fields->is_object())
    for (const auto& [name, value] : flatten(*fields)) out += fmt::format(" {}={}", name, value);
  return out + "\n";
}

}  // namespace atl::cli
