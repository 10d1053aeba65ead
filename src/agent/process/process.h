#pragma once
#include <array>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/context.h"
#include "agent/process/spawn.h"
#include "agent/process/subscriber.h"
#include "base/wakeup.h"
#include "proto/process.pb.h"

namespace atl::agent {

// How long things may take; parameters, so that tests need not wait as long.
struct ProcessTimes {
  // After the program's exit a descendant may still hold its output open (`server &`). The end is
  // then told once nothing came for `quiet`, for a command must not hang for ever on a daemon; and
  // at the latest `longest` after the exit, should the descendant go on talking. Output that the
  // program itself left in the pipe is always delivered first.
  Millis quiet{2'000};
  Millis longest{30'000};
  // With several readers the process waits for the slowest, but a reader that stands still this
  // long while others wait is cut with resource_exhausted.
  Millis slow_reader{10'000};
  // SendInput waits at most this long for a program that does not read its input.
  Millis input{30'000};
};

// One command that runs or has just ended. Everything happens on the loop.
class Process : public std::enable_shared_from_this<Process> {
 public:
  Process(AgentContext& context, Reaper& reaper, ProcessTimes times, ::process::StartRequest request,
          Spawned spawned);
  ~Process();

  // Begins to read its output; `ended` is called once, when the end event is known. With a
  // deadline the whole session is killed then.
  void run(std::optional<Wakeup::TimePoint> deadline, std::function<void()> ended);

  pid_t pid() const { return pid_; }
  bool running() const { return !exit_; }          // the program itself
  bool ended() const { return end_.has_value(); }  // and its output
  bool has_terminal() const { return terminal_; }
  const ::process::ProcessConfig& config() const { return config_; }
  const std::optional<std::string>& tag() const { return tag_; }

  // A new reader: it sees output from now on, then the end (at once when that has been).
  std::shared_ptr<Subscriber> attach();
  void detach(const std::shared_ptr<Subscriber>& reader);
  // A reader took something: the process may be read on.
  void reader_took() { room_.notify(); }

  // Writes all of it, in order of calls. Waits at most `times.input` or until the deadline, then
  // Errc::exhausted says how much was taken; `*gone` ends the wait (call input_wakeup().notify()).
  Task<Status> write_input(std::string bytes, bool for_terminal, Wakeup::TimePoint deadline,
                           std::shared_ptr<const bool> gone);
  Wakeup& input_wakeup() { return input_; }
  Status close_input();
  Status resize(TerminalSize size);
  Status signal(int number);
  // SIGINT to the process and its group, as Ctrl-C at a terminal: a shell alone would wait for its
  // child first.
  Status interrupt();
  // SIGKILL to the process, its group and every process of its session.
  void kill_session();

 private:
  struct Output {
    asio::posix::stream_descriptor descriptor;
    bool open = false;
    bool waiting = false;  // for the program, not for a reader
    bool drained = false;  // stood empty, or gave a pipe's worth, after the exit
    std::size_t bytes_after_exit = 0;
    Wakeup::TimePoint waiting_since{};
  };

  static Task<void> pump(std::shared_ptr<Process> self, OutputStream stream);
  static Task<void> finish(std::shared_ptr<Process> self);
  static Task<void> enforce(std::shared_ptr<Process> self, Wakeup::TimePoint deadline);
  Task<void> wait_for_room();
  // Bytes read and given to the readers; 0 = the end, -1 = nothing there now.
  ssize_t read_once(Output& output, OutputStream stream);
  void publish(OutputStream stream, std::string_view bytes);
  void publish_end();
  void on_exit(int wait_status);
  void note_read(Output& output, std::size_t bytes);
  void note_empty(Output& output);
  bool outputs_open() const;
  // When the end may be told though outputs are open; nullopt = not yet known.
  std::optional<Wakeup::TimePoint> end_without_outputs() const;
  Status input_ready(bool for_terminal) const;
  Task<Status> write_in_turn(std::string_view bytes, Wakeup::TimePoint deadline,
                             std::shared_ptr<const bool> gone);
  void arm_input();
  Output& output(OutputStream stream) { return outputs_[static_cast<std::size_t>(stream)]; }
  asio::posix::stream_descriptor& input_descriptor();
  Wakeup::TimePoint now() const { return context_.clock.steady(); }

  AgentContext& context_;
  Reaper& reaper_;
  ProcessTimes times_;
  pid_t pid_;
  bool terminal_;
  ::process::ProcessConfig config_;
  std::optional<std::string> tag_;

  std::array<Output, 3> outputs_;  // by OutputStream; a terminal has only the third
  asio::posix::stream_descriptor stdin_;
  std::vector<std::shared_ptr<Subscriber>> readers_;
  Wakeup room_;                 // a reader took something, came or went
  Wakeup progress_;             // an output stood empty or closed, or the process ended
  Wakeup input_;                // the input can be written, or its turn came
  std::list<int> input_turns_;  // callers of write_input, the first one writes
  bool input_armed_ = false;
  std::size_t input_waiting_bytes_ = 0;

  std::optional<int> exit_;
  Wakeup::TimePoint exited_at_{};
  std::optional<ExitReport> end_;
  std::function<void()> ended_;
};

}  // namespace atl::agent
