#include "cli/duration.h"

#include <fmt/format.h>

#include <ctime>

#include "base/limits.h"

namespace atl::cli {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

std::int64_t unit_seconds(char unit) {
  switch (unit) {
    case 's': return 1;
    case 'm': return 60;
    case 'h': return 3600;
    case 'd': return 86400;
    default: return 0;
  }
}

Error not_a_duration(std::string_view text, std::string_view why) {
  return make_error(Errc::invalid, fmt::format("\"{}\" is not a duration: {}; write seconds (90) or units "
                                               "(90s, 5m, 2h, 1h30m)", text, why));
}

// `count` digits at `at`, or -1.
int digits(std::string_view text, std::size_t at, std::size_t count) {
  if (at + count > text.size()) return -1;
  int value = 0;
  for (std::size_t i = at; i < at + count; ++i) {
    if (!is_digit(text[i])) return -1;
    value = value * 10 + (text[i] - '0');
  }
  return value;
}

// Seconds east of UTC in the text behind the seconds ("Z", "+02:00", after a fraction), or nullopt.
Result<std::int64_t> zone_offset(std::string_view rest, std::string_view whole) {
  if (!rest.empty() && rest[0] == '.') {
    std::size_t end = 1;
    while (end < rest.size() && is_digit(rest[end])) ++end;
    rest.remove_prefix(end);
  }
  if (rest == "Z" || rest == "z") return std::int64_t{0};
  const int hours = digits(rest, 1, 2), minutes = digits(rest, 4, 2);
  if (rest.size() != 6 || (rest[0] != '+' && rest[0] != '-') || rest[3] != ':' || hours < 0 || minutes < 0)
    return make_error(Errc::invalid, fmt::format("\"{}\" has no time zone (Z or +hh:mm)", whole));
  const std::int64_t offset = hours * 3600 + minutes * 60;
  return rest[0] == '-' ? -offset : offset;
}

}  // namespace

Result<std::int64_t> parse_duration(std::string_view text) {
  if (text.empty()) return not_a_duration(text, "it is empty");
  std::int64_t total = 0;
  std::size_t at = 0;
  while (at < text.size()) {
    std::int64_t number = 0;
    const std::size_t first = at;
    for (; at < text.size() && is_digit(text[at]); ++at) {
      if (at - first >= 9) return not_a_duration(text, "the number is too large");
      number = number * 10 + (text[at] - '0');
    }
    if (at == first) return not_a_duration(text, fmt::format("a digit is expected at character {}", at + 1));
    const bool bare = at == text.size();
    if (bare && first != 0) return not_a_duration(text, "the last number has no unit");
    const std::int64_t unit = bare ? 1 : unit_seconds(text[at++]);
    if (unit == 0) return not_a_duration(text, "the units are s, m, h and d");
    total += number * unit;
    if (total > limits::sandbox_timeout_s_max)
      return not_a_duration(text, fmt::format("the longest is {}", format_duration(limits::sandbox_timeout_s_max)));
  }
  return total;
}

std::string format_duration(std::int64_t seconds) {
  if (seconds < 0) seconds = 0;
  const auto pair = [](std::int64_t big, char big_unit, std::int64_t small, char small_unit) {
    return small ? fmt::format("{}{} {}{}", big, big_unit, small, small_unit) : fmt::format("{}{}", big, big_unit);
  };
  if (seconds < 60) return fmt::format("{}s", seconds);
  if (seconds < 3600) return pair(seconds / 60, 'm', seconds % 60, 's');
  if (seconds < 86400) return pair(seconds / 3600, 'h', seconds % 3600 / 60, 'm');
  return pair(seconds / 86400, 'd', seconds % 86400 / 3600, 'h');
}

std::string format_bytes(std::uint64_t bytes) {
  if (bytes < 1000) return fmt::format("{} B", bytes);
  static constexpr std::string_view kUnits[] = {"kB", "MB", "GB", "TB", "PB", "EB"};
  double value = static_cast<double>(bytes) / 1000;
  std::size_t unit = 0;
  while (value >= 999.95 && unit + 1 < std::size(kUnits)) {
    value /= 1000;
    ++unit;
  }
  return fmt::format("{:.1f} {}", value, kUnits[unit]);
}

Result<std::int64_t> parse_rfc3339(std::string_view text) {
  std::tm tm{};
  const int year = digits(text, 0, 4), month = digits(text, 5, 2), day = digits(text, 8, 2);
  const int hour = digits(text, 11, 2), minute = digits(text, 14, 2), second = digits(text, 17, 2);
  if (year < 1970 || month < 1 || month > 12 || day < 1 || day > 31 || hour < 0 || hour > 23 || minute < 0 ||
      minute > 59 || second < 0 || second > 60 || text[4] != '-' || text[7] != '-' || text[13] != ':' ||
      text[16] != ':')
    return make_error(Errc::invalid, fmt::format("\"{}\" is not a time like 2030-01-31T12:00:00Z", text));
  TRY(const std::int64_t offset, zone_offset(text.substr(19), text));
  tm.tm_year = year - 1900;
  tm.tm_mon = month - 1;
  tm.tm_mday = day;
  tm.tm_hour = hour;
  tm.tm_min = minute;
  tm.tm_sec = second;
  return static_cast<std::int64_t>(::timegm(&tm)) - offset;
}

}  // namespace atl::cli
