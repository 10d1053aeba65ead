#include "agent/process/process.h"

#include <dirent.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <cstdlib>

#include "base/fs.h"

namespace atl::agent {
namespace {

constexpr std::size_t kReadBytes = Subscriber::kEventBytesMax;
// A pipe holds at most so much that the program wrote before its exit (a default pipe: 64 KiB).
constexpr std::size_t kPipeBytesMax = 1u << 20;
// Output without a reader is dropped; after so much other work gets its turn.
constexpr std::size_t kTurnBytes = 1u << 20;

asio::posix::stream_descriptor own(asio::any_io_executor executor, UniqueFd fd) {
  asio::posix::stream_descriptor descriptor(std::move(executor));
  if (fd.valid()) descriptor.assign(fd.release());
  return descriptor;
}

// Jobs of an interactive shell are groups of their own, but of its session. False: nobody was left.
bool kill_members(pid_t session) {
  const auto names = list_dir("/proc");
  if (!names.ok()) return false;
  bool found = false;
  for (const std::string& name : *names) {
    const pid_t pid = std::atoi(name.c_str());
    if (pid > 1 && ::getsid(pid) == session) found = ::kill(pid, SIGKILL) == 0 || found;
  }
  return found;
}

// Blocking. Repeated, since members may fork while the list is read; bounded, for the dead stay
// listed until they are collected.
void kill_all_of_session(pid_t session) {
  for (int pass = 0; pass < 3 && kill_members(session); ++pass) {
  }
}

}  // namespace

Process::Process(AgentContext& context, Reaper& reaper, ProcessTimes times, ::process::StartRequest request,
                 Spawned spawned)
    : context_(context),
      reaper_(reaper),
      times_(times),
      pid_(spawned.pid),
      terminal_(spawned.terminal.valid()),
      config_(std::move(*request.mutable_process())),
      outputs_{Output{own(context.executor, std::move(spawned.out))},
               Output{own(context.executor, std::move(spawned.err))},
               Output{own(context.executor, std::move(spawned.terminal))}},
      stdin_(own(context.executor, std::move(spawned.in))),
      room_(context.executor),
      progress_(context.executor),
      input_(context.executor) {
  if (request.has_tag()) tag_ = request.tag();
  for (Output& output : outputs_) output.open = output.descriptor.is_open();
}

Process::~Process() = default;

void Process::run(std::optional<Wakeup::TimePoint> deadline, std::function<void()> ended) {
  ended_ = std::move(ended);
  for (OutputStream stream : {OutputStream::out, OutputStream::err, OutputStream::pty})
    if (output(stream).open) spawn(context_.executor, "process output", pump(shared_from_this(), stream));
  if (deadline) spawn(context_.executor, "process deadline", enforce(shared_from_this(), *deadline));
  auto on_end = [weak = weak_from_this()](int status) {
    if (auto self = weak.lock()) self->on_exit(status);
  };
  reaper_.watch(pid_, std::move(on_end));
}

// --- Output. ---

// Not a coroutine: the buffer is on the stack, so that thousands of quiet commands cost no memory.
ssize_t Process::read_once(Output& output, OutputStream stream) {
  char buffer[kReadBytes];
  ssize_t n = 0;
  do {
    n = ::read(output.descriptor.native_handle(), buffer, sizeof buffer);
  } while (n < 0 && errno == EINTR);
  if (n <= 0) return n < 0 && errno == EAGAIN ? -1 : 0;  // the end; a terminal says EIO
  note_read(output, static_cast<std::size_t>(n));
  publish(stream, std::string_view(buffer, static_cast<std::size_t>(n)));
  return n;
}

Task<void> Process::pump(std::shared_ptr<Process> self, OutputStream stream) {
  Output& output = self->output(stream);
  std::size_t turn = 0;
  for (;;) {
    co_await self->wait_for_room();
    const ssize_t n = self->read_once(output, stream);
    if (n == 0) break;
    if (n > 0) {
      turn += static_cast<std::size_t>(n);
      if (turn < kTurnBytes) continue;
      turn = 0;
      co_await asio::post(self->context_.executor, asio::use_awaitable);
      continue;
    }
    self->note_empty(output);
    const auto [error] = co_await output.descriptor.async_wait(asio::posix::descriptor_base::wait_read,
                                                               asio::as_tuple(asio::use_awaitable));
    output.waiting = false;
    if (error) break;
  }
  output.open = false;
  output.descriptor.close();
  self->progress_.notify();
}

void Process::note_read(Output& output, std::size_t bytes) {
  output.waiting = false;
  if (!exit_) return;
  output.bytes_after_exit += bytes;
  if (output.drained || output.bytes_after_exit < kPipeBytesMax) return;
  output.drained = true;
  progress_.notify();
}

void Process::note_empty(Output& output) {
  output.waiting_since = now();
  output.waiting = true;
  if (!exit_) return;
  output.drained = true;
  progress_.notify();
}

// Returns when every reader has room. While all of them are full, the process simply waits; where
// one is empty and another stands still, the one that stands still is cut in the end.
Task<void> Process::wait_for_room() {
  for (;;) {
    Wakeup::TimePoint cut_at = Wakeup::kNever;
    bool all_have_room = true;
    const bool one_waits = std::any_of(readers_.begin(), readers_.end(), [](auto& r) { return r->empty(); });
    for (const auto& reader : readers_) {
      if (reader->has_room()) continue;
      all_have_room = false;
      if (one_waits) cut_at = std::min(cut_at, reader->full_since() + times_.slow_reader);
    }
    if (all_have_room) co_return;
    if (cut_at <= now()) {
      const auto slow = std::find_if(readers_.begin(), readers_.end(), [&](auto& r) {
        return !r->has_room() && r->full_since() + times_.slow_reader <= now();
      });
      (*slow)->cut = true;
      (*slow)->wakeup.notify();
      readers_.erase(slow);
      continue;
    }
    co_await room_.wait_until(cut_at);
  }
}

void Process::publish(OutputStream stream, std::string_view bytes) {
  if (readers_.empty()) return;
  const auto shared = std::make_shared<const std::string>(bytes);
  for (const auto& reader : readers_) reader->push(stream, shared, now());
}

std::shared_ptr<Subscriber> Process::attach() {
  auto reader = std::make_shared<Subscriber>(context_.executor);
  if (end_)
    reader->end = end_;
  else
    readers_.push_back(reader);
  return reader;
}

void Process::detach(const std::shared_ptr<Subscriber>& reader) {
  std::erase(readers_, reader);
  room_.notify();
}

// --- The end. ---

void Process::on_exit(int wait_status) {
  exit_ = wait_status;
  exited_at_ = now();
  // What is waited for now was waited for before the exit: the pipe may have been filled since.
  for (Output& output : outputs_) output.waiting_since = std::max(output.waiting_since, exited_at_);
  input_.notify();
  spawn(context_.executor, "process end", finish(shared_from_this()));
}

bool Process::outputs_open() const {
  return std::any_of(outputs_.begin(), outputs_.end(), [](const Output& o) { return o.open; });
}

std::optional<Wakeup::TimePoint> Process::end_without_outputs() const {
  Wakeup::TimePoint quiet = exited_at_ + times_.quiet;
  bool all_waiting = true;
  for (const Output& output : outputs_) {
    if (!output.open) continue;
    if (output.waiting)
      quiet = std::max(quiet, output.waiting_since + times_.quiet);
    else
      all_waiting = false;
    if (!output.waiting && !output.drained) return std::nullopt;
  }
  const auto longest = exited_at_ + times_.longest;
  return all_waiting ? std::min(quiet, longest) : longest;
}

Task<void> Process::finish(std::shared_ptr<Process> self) {
  while (self->outputs_open()) {
    const auto until = self->end_without_outputs();
    if (until && *until <= self->now()) break;
    co_await self->progress_.wait_until(until.value_or(Wakeup::kNever));
  }
  self->publish_end();
}

// The outputs that a daemon still holds go on being read (and dropped), so that it does not die
// of SIGPIPE or block on a full pipe.
void Process::publish_end() {
  end_ = exit_report(*exit_);
  for (const auto& reader : readers_) {
    reader->end = end_;
    reader->wakeup.notify();
  }
  readers_.clear();
  room_.notify();
  progress_.notify();
  if (stdin_.is_open()) stdin_.close();
  config_.Clear();  // only running commands are listed, and this may be large
  if (auto ended = std::exchange(ended_, nullptr)) ended();
}

Task<void> Process::enforce(std::shared_ptr<Process> self, Wakeup::TimePoint deadline) {
  while (!self->end_ && self->now() < deadline) co_await self->progress_.wait_until(deadline);
  if (!self->end_) self->kill_session();
}

// The session's number stays taken while a member lives, also after the leader was collected; when
// none does, nobody is hit (a number is reused only after all others were, and this is called
// within seconds of the leader's end).
void Process::kill_session() {
  reaper_.signal(pid_, SIGKILL);
  ::kill(-pid_, SIGKILL);
  asio::post(context_.pool, [session = pid_] { kill_all_of_session(session); });
}

Status Process::signal(int number) {
  if (exit_ || !reaper_.signal(pid_, number))
    return make_error(Errc::not_found, "process with pid " + std::to_string(pid_) + " has ended");
  return ok();
}

Status Process::interrupt() {
  if (exit_ || !reaper_.signal_group(pid_, SIGINT))
    return make_error(Errc::not_found, "process with pid " + std::to_string(pid_) + " has ended");
  return ok();
}

}  // namespace atl::agent
