#include <unistd.h>

#include <algorithm>

#include "agent/process/process.h"

namespace atl::agent {
namespace {
// Input that waits for a program which does not read it, of all callers together.
constexpr std::size_t kInputWaitingBytesMax = 32u << 20;
}  // namespace

asio::posix::stream_descriptor& Process::input_descriptor() {
  return terminal_ ? output(OutputStream::pty).descriptor : stdin_;
}

Status Process::input_ready(bool for_terminal) const {
  if (exit_) return make_error(Errc::not_found, "process with pid " + std::to_string(pid_) + " has ended");
  if (terminal_ && !for_terminal)
    return make_error(Errc::conflict,
                      "error writing to stdin: the process has a terminal: send the input as pty");
  if (!terminal_ && for_terminal)
    return make_error(Errc::conflict,
                      "error writing to tty: the process has no terminal: send the input as stdin");
  const bool open = terminal_ ? outputs_[2].open : stdin_.is_open();
  if (!open) return make_error(Errc::conflict, "error writing to stdin: stdin not enabled or closed");
  return ok();
}

// Tells input_ when the descriptor takes bytes again. The wait outlives a caller that gave up.
void Process::arm_input() {
  if (input_armed_) return;
  input_armed_ = true;
  input_descriptor().async_wait(asio::posix::descriptor_base::wait_write,
                                [self = shared_from_this()](const boost::system::error_code&) {
                                  self->input_armed_ = false;
                                  self->input_.notify();
                                });
}

Task<Status> Process::write_in_turn(std::string_view bytes, Wakeup::TimePoint deadline,
                                    std::shared_ptr<const bool> gone) {
  const std::size_t size = bytes.size();
  const bool for_terminal = terminal_;
  while (!bytes.empty()) {
    CO_CHECK_OK(input_ready(for_terminal));
    const ssize_t n = ::write(input_descriptor().native_handle(), bytes.data(), bytes.size());
    if (n > 0) {
      bytes.remove_prefix(static_cast<std::size_t>(n));
      continue;
    }
    if (errno == EINTR) continue;
    if (errno == EPIPE)
      co_return make_error(Errc::conflict, "error writing to stdin: the process has closed it");
    if (errno != EAGAIN) co_return with_context(os_error("write", ""), "error writing to stdin");
    if (*gone) co_return make_error(Errc::unavailable, "the client went away");
    if (now() >= deadline)
      co_return make_error(Errc::exhausted,
                           "the process does not read its input: " + std::to_string(size - bytes.size()) +
                               " of " + std::to_string(size) +
                               " bytes were written before the time allowed ran out");
    arm_input();
    co_await input_.wait_until(deadline);
  }
  co_return ok();
}

Task<Status> Process::write_input(std::string bytes, bool for_terminal, Wakeup::TimePoint deadline,
                                  std::shared_ptr<const bool> gone) {
  const auto self = shared_from_this();
  CO_CHECK_OK(input_ready(for_terminal));
  if (input_waiting_bytes_ + bytes.size() > kInputWaitingBytesMax)
    co_return make_error(Errc::exhausted,
                         "the process does not read its input: " + std::to_string(input_waiting_bytes_) +
                             " bytes wait already, the limit is 33554432; send again later");
  input_waiting_bytes_ += bytes.size();
  deadline = std::min(deadline, now() + times_.input);
  const auto turn = input_turns_.insert(input_turns_.end(), 0);
  while (turn != input_turns_.begin() && now() < deadline && !*gone) co_await input_.wait_until(deadline);
  Status outcome =
      make_error(Errc::exhausted, "the process does not read its input: earlier input still waits");
  if (turn == input_turns_.begin()) outcome = co_await write_in_turn(bytes, deadline, gone);
  input_turns_.erase(turn);
  input_waiting_bytes_ -= bytes.size();
  input_.notify();
  co_return outcome;
}

Status Process::close_input() {
  if (exit_) return make_error(Errc::not_found, "process with pid " + std::to_string(pid_) + " has ended");
  if (terminal_)
    return make_error(Errc::conflict, "a terminal's input cannot be closed: send Ctrl+D (0x04) as pty input");
  if (stdin_.is_open()) stdin_.close();
  input_.notify();
  return ok();
}

Status Process::resize(TerminalSize size) {
  if (exit_) return make_error(Errc::not_found, "process with pid " + std::to_string(pid_) + " has ended");
  if (!terminal_ || !output(OutputStream::pty).open)
    return make_error(Errc::conflict, "the process has no terminal: it cannot be resized");
  return resize_pty(output(OutputStream::pty).descriptor.native_handle(), size);
}

}  // namespace atl::agent
