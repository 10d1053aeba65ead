#include "control/time_text.h"

#include <fmt/format.h>

#include <chrono>

namespace atl::control {
namespace {

namespace chr = std::chrono;

// Cuts `count` digits off the front.
std::optional<int> digits(std::string_view& text, std::size_t count) {
  if (text.size() < count) return std::nullopt;
  int value = 0;
  for (std::size_t i = 0; i < count; ++i) {
    if (text[i] < '0' || text[i] > '9') return std::nullopt;
    value = value * 10 + (text[i] - '0');
  }
  text.remove_prefix(count);
  return value;
}

bool take(std::string_view& text, char c) {
  if (text.empty() || text.front() != c) return false;
  text.remove_prefix(1);
  return true;
}

std::optional<std::int64_t> fraction_us(std::string_view& text) {
  if (!take(text, '.')) return 0;
  std::int64_t us = 0;
  std::size_t count = 0;
  for (; !text.empty() && text.front() >= '0' && text.front() <= '9'; text.remove_prefix(1), ++count)
    if (count < 6) us = us * 10 + (text.front() - '0');
  if (count == 0 || count > 9) return std::nullopt;
  for (std::size_t i = count; i < 6; ++i) us *= 10;
  return us;
}

std::optional<std::int64_t> zone_s(std::string_view& text) {
  if (take(text, 'Z') || take(text, 'z')) return 0;
  const int sign = take(text, '+') ? 1 : take(text, '-') ? -1 : 0;
  if (sign == 0) return std::nullopt;
  const auto hours = digits(text, 2);
  if (!hours || *hours > 23 || !take(text, ':')) return std::nullopt;
  const auto minutes = digits(text, 2);
  if (!minutes || *minutes > 59) return std::nullopt;
  return sign * (*hours * 3600 + *minutes * 60);
}

std::optional<std::int64_t> clock_s(std::string_view& text) {
  const auto hour = digits(text, 2);
  if (!hour || *hour > 23 || !take(text, ':')) return std::nullopt;
  const auto minute = digits(text, 2);
  if (!minute || *minute > 59 || !take(text, ':')) return std::nullopt;
  const auto second = digits(text, 2);
  if (!second || *second > 60) return std::nullopt;
  return *hour * 3600 + *minute * 60 + *second;
}

}  // namespace

std::string rfc3339(std::int64_t unix_ms) {
  const chr::sys_time<chr::milliseconds> at{chr::milliseconds(unix_ms)};
  const auto day = chr::floor<chr::days>(at);
  const chr::year_month_day date(day);
  const chr::hh_mm_ss time(at - day);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", static_cast<int>(date.year()),
                     static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()), time.hours().count(),
                     time.minutes().count(), time.seconds().count(), time.subseconds().count());
}

std::optional<std::int64_t> parse_rfc3339_us(std::string_view text) {
  const auto year = digits(text, 4);
  if (!year || *year < 1970 || !take(text, '-')) return std::nullopt;
  const auto month = digits(text, 2);
  if (!month || !take(text, '-')) return std::nullopt;
  const auto day = digits(text, 2);
  if (!day || (!take(text, 'T') && !take(text, 't') && !take(text, ' '))) return std::nullopt;
  const chr::year_month_day date{chr::year(*year), chr::month(static_cast<unsigned>(*month)),
                                 chr::day(static_cast<unsigned>(*day))};
  if (!date.ok()) return std::nullopt;
  const auto clock = clock_s(text);
  if (!clock) return std::nullopt;
  const auto us = fraction_us(text);
  if (!us) return std::nullopt;
  const auto zone = zone_s(text);
  if (!zone || !text.empty()) return std::nullopt;
  const std::int64_t days = chr::sys_days(date).time_since_epoch().count();
  return (days * 86400 + *clock - *zone) * 1'000'000 + *us;
}

}  // namespace atl::control
