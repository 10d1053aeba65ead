#pragma once
#include <chrono>
#include <optional>
#include <string>

#include "base/clock.h"
#include "cli/console.h"

namespace atl::cli {

// One line on standard error that is rewritten at most ten times a second; nothing where that is no
// terminal.
class Progress {
 public:
  Progress(Console& console, const Clock& clock);
  void set_label(std::string label) { label_ = std::move(label); }  // printable text
  void set_total(std::optional<std::uint64_t> bytes) { total_ = bytes; }
  Task<void> advance(std::uint64_t bytes);
  Task<void> clear();  // takes the line away
  std::uint64_t bytes() const { return done_; }

  // The line's text, for `columns` columns.
  std::string line(std::size_t columns) const;

 private:
  Console& console_;
  const Clock& clock_;
  const bool shown_;
  std::string label_;
  std::optional<std::uint64_t> total_;
  std::uint64_t done_ = 0;
  std::chrono::steady_clock::time_point started_, drawn_;
  bool drawn_once_ = false;
};

}  // namespace atl::cli
