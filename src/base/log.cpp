#include "base/log.h"

#include <fmt/format.h>
#include <sys/time.h>
#include <unistd.h>

#include <ctime>

namespace atl {
namespace {

// Process-wide by nature, as standard error is. Set once by main before threads start.
std::string g_role = "atoll";
Level g_least = Level::info;

std::string timestamp() {
  timeval now{};
  ::gettimeofday(&now, nullptr);
  tm utc{};
  ::gmtime_r(&now.tv_sec, &utc);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z", utc.tm_year + 1900, utc.tm_mon + 1,
                     utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec, now.tv_usec);
}

// Length of the valid UTF-8 sequence at `at`, or 0.
std::size_t utf8_length(std::string_view text, std::size_t at) {
  const auto lead = static_cast<unsigned char>(text[at]);
  const std::size_t length = lead < 0x80 ? 1 : lead >= 0xc2 && lead < 0xe0 ? 2 : (lead & 0xf0) == 0xe0 ? 3
                             : lead >= 0xf0 && lead < 0xf5                  ? 4
                                                                            : 0;
  if (length == 0 || at + length > text.size()) return 0;
  for (std::size_t i = 1; i < length; ++i)
    if ((static_cast<unsigned char>(text[at + i]) & 0xc0) != 0x80) return 0;
  if (length > 2) {
    const auto second = static_cast<unsigned char>(text[at + 1]);
    if ((lead == 0xe0 && second < 0xa0) || (lead == 0xed && second > 0x9f)) return 0;
    if ((lead == 0xf0 && second < 0x90) || (lead == 0xf4 && second > 0x8f)) return 0;
  }
  return length;
}

}  // namespace

std::string json_escape(std::string_view text) {
  std::string out;
  out.reserve(text.size() + 8);
  for (std::size_t i = 0; i < text.size();) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c == '\n') {
      out += "\\n";
    } else if (c < 0x20 || c == 0x7f) {
      out += fmt::format("\\u{:04x}", c);
    } else {
      const std::size_t length = utf8_length(text, i);
      if (length == 0) {
        out += "\xef\xbf\xbd";
      } else {
        out += text.substr(i, length);
        i += length;
        continue;
      }
    }
    ++i;
  }
  return out;
}

void log_configure(std::string role, Level least) {
  g_role = std::move(role);
  g_least = least;
}

void log_line(Level level, std::string_view message, LogFields fields) {
  if (level < g_least) return;
  constexpr std::string_view names[] = {"debug", "info", "warn", "error"};
  std::string line = fmt::format(R"({{"ts":"{}","level":"{}","role":"{}","msg":"{}")", timestamp(),
                                 names[static_cast<int>(level)], json_escape(g_role), json_escape(message));
  for (const LogField& field : fields)
    line += fmt::format(R"(,"{}":"{}")", json_escape(field.key), json_escape(field.value));
  line += "}\n";
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace atl
