#pragma once
#include <deque>

#include "cli/console.h"

namespace atl::cli::testing {

// What was written, by stream; what is read comes from a script, and then the end.
class FakeConsole final : public Console {
 public:
  std::string out, err;
  std::deque<std::string> input;
  bool terminal = false, empty_input = false;
  std::optional<std::size_t> width;
  std::size_t broken_after = std::string::npos;  // bytes of standard output until its reader goes away
  std::function<void()> on_write;

  Task<Status> write(Stream stream, std::string_view bytes) override {
    std::string& into = stream == Stream::out ? out : err;
    into += bytes;
    if (on_write) on_write();
    if (stream == Stream::out && out.size() > broken_after) co_return os_error("write", "standard output", EPIPE);
    co_return ok();
  }
  Task<Result<std::string>> read(std::size_t) override {
    if (input.empty()) co_return std::string();
    std::string next = std::move(input.front());
    input.pop_front();
    co_return next;
  }
  void stop_reading() override { input.clear(); }
  bool is_terminal(Stream) const override { return terminal; }
  bool input_is_terminal() const override { return terminal; }
  bool input_is_empty() const override { return empty_input; }
  std::optional<std::size_t> columns(Stream) const override { return width; }
  bool colour(Stream) const override { return false; }
};

}  // namespace atl::cli::testing
