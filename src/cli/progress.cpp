#include "cli/progress.h"

#include <fmt/format.h>

#include "cli/duration.h"
#include "cli/text.h"

namespace atl::cli {

using namespace std::chrono_literals;

Progress::Progress(Console& console, const Clock& clock)
    : console_(console), clock_(clock), shown_(console.is_terminal(Stream::err)), started_(clock.steady()) {}

std::string Progress::line(std::size_t columns) const {
  std::string numbers = format_bytes(done_);
  if (total_ && *total_ > 0)
    numbers += fmt::format(" of {} ({}%)", format_bytes(*total_), std::min<std::uint64_t>(100, done_ * 100 / *total_));
  const auto spent = std::chrono::duration<double>(clock_.steady() - started_).count();
  if (spent > 0.2) numbers += fmt::format("  {}/s", format_bytes(static_cast<std::uint64_t>(done_ / spent)));
  const std::size_t room = columns > numbers.size() + 3 ? columns - numbers.size() - 3 : 0;
  return fit(label_, room) + "  " + numbers;
}

Task<void> Progress::advance(std::uint64_t bytes) {
  done_ += bytes;
  const auto now = clock_.steady();
  if (!shown_ || now - started_ < 300ms || (drawn_once_ && now - drawn_ < 100ms)) co_return;
  drawn_ = now;
  drawn_once_ = true;
  const std::string text = "\r\x1b[K" + line(console_.columns(Stream::err).value_or(80));
  [[maybe_unused]] const Status written = co_await console_.write(Stream::err, text);
}

Task<void> Progress::clear() {
  if (!drawn_once_) co_return;
  drawn_once_ = false;
  [[maybe_unused]] const Status written = co_await console_.write(Stream::err, "\r\x1b[K");
}

}  // namespace atl::cli
