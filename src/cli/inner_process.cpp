#include "cli/inner_process.h"

#include <fmt/format.h>

#include <csignal>

#include "cli/duration.h"
#include "cli/exits.h"
#include "cli/raw_terminal.h"

namespace atl::cli {
namespace {

constexpr std::size_t kInputBytesMax = 64 * 1024;
constexpr Millis kAskAgain{200};
constexpr int kGoneTries = 10;
constexpr Millis kClockSlack{2'000};

// Standard input to the process until either ends. Runs beside the output's loop and may outlive
// it for one last request, therefore it shares the agent. `console` outlives the loop's run.
Task<void> pump_input(Console& console, std::shared_ptr<AgentClient> agent, std::uint32_t pid, bool to_terminal) {
  for (;;) {
    const auto bytes = co_await console.read(kInputBytesMax);
    if (!bytes.ok() || bytes->empty()) break;
    const Status sent = co_await agent->send_input(pid, *bytes, to_terminal);
    if (!sent.ok()) co_return;  // it ended, or closed its input: the output's loop knows more
  }
  // A terminal inside has no end of input but the one that is typed.
  if (!to_terminal) [[maybe_unused]] const Status closed = co_await agent->close_input(pid);
}

Task<void> send_size(std::shared_ptr<AgentClient> agent, std::uint32_t pid) {
  [[maybe_unused]] const Status sent = co_await agent->resize(pid, terminal_size());
}

void follow_size(Context& context, std::shared_ptr<AgentClient> agent, std::uint32_t pid) {
  context.interrupts.on_resize([agent, pid, executor = context.executor] {
    spawn(executor, "resize", send_size(agent, pid));
  });
}

// Binds signals to one process while it runs.
class SignalBinding {
 public:
  SignalBinding(Context& context, std::shared_ptr<AgentClient> agent, ProcessStream& stream, OnInterrupt policy)
      : interrupts_(context.interrupts), state_(std::make_shared<State>()) {
    state_->stream = &stream;
    interrupts_.on_interrupt([state = state_, agent, policy, executor = context.executor](int number) {
      const int count = ++state->signals;
      const bool passes = policy == OnInterrupt::exec || (policy == OnInterrupt::run && number == SIGINT);
      if (count == 1 && passes && state->pid != 0)
        spawn(executor, "signal", pass_on(state, agent, number == SIGINT ? SIGINT : SIGTERM));
      else if (count == 2 && policy == OnInterrupt::exec && state->pid != 0)
        spawn(executor, "signal", kill_and_stop(state, agent));
      else
        state->stop();
    });
  }
  ~SignalBinding() {
    interrupts_.on_interrupt(nullptr);
    state_->stream = nullptr;
  }
  SignalBinding(const SignalBinding&) = delete;
  SignalBinding& operator=(const SignalBinding&) = delete;
  void set_pid(std::uint32_t pid) { state_->pid = pid; }

 private:
  struct State {
    ProcessStream* stream = nullptr;  // null once the binding is gone
    std::uint32_t pid = 0;
    int signals = 0;
    void stop() { if (stream) stream->cancel(); }
  };
  static Task<void> pass_on(std::shared_ptr<State> state, std::shared_ptr<AgentClient> agent, int number) {
    Status sent = co_await agent->signal(state->pid, number);
    // The agent of a sandbox that an older Atoll started knows no SIGINT.
    if (!sent.ok() && sent.error().code == Errc::unsupported && number == SIGINT)
      sent = co_await agent->signal(state->pid, SIGTERM);
    // Nobody's Ctrl-C is lost: what cannot be passed on ends the command here.
    if (!sent.ok() && sent.error().code != Errc::not_found) state->stop();
  }
  static Task<void> kill_and_stop(std::shared_ptr<State> state, std::shared_ptr<AgentClient> agent) {
    [[maybe_unused]] const Status sent = co_await agent->signal(state->pid, SIGKILL);
    state->stop();
  }

  Interrupts& interrupts_;
  std::shared_ptr<State> state_;
};

Stream stream_of(OutputKind kind) { return kind == OutputKind::err ? Stream::err : Stream::out; }

Task<Result<int>> copy_output(Context& context, std::shared_ptr<AgentClient> agent, ProcessStream& stream,
                              SignalBinding& signals, const ProcessSpec& spec, std::uint32_t& pid) {
  for (;;) {
    CO_TRY(ProcessEvent event, co_await stream.next());
    if (const auto* started = std::get_if<ProcessStarted>(&event)) {
      pid = started->pid;
      signals.set_pid(pid);
      if (spec.terminal) follow_size(context, agent, pid);
      const bool takes_input = spec.stdin_open || spec.terminal;
      if (takes_input)
        spawn(context.executor, "input", pump_input(context.console, agent, pid, spec.terminal.has_value()));
    } else if (const auto* output = std::get_if<ProcessOutput>(&event)) {
      const Status written = co_await context.console.write(stream_of(output->kind), output->bytes);
      if (written.ok()) continue;
      // As SIGPIPE would for a command here: nobody reads its output any more.
      if (pid != 0) [[maybe_unused]] const Status sent = co_await agent->signal(pid, SIGTERM);
      co_return written.error();
    } else if (const auto* ended = std::get_if<ProcessEnded>(&event)) {
      co_return exit_code_of_process(ended->exit_code, ended->exited, ended->status);
    }
  }
}

// Whether the sandbox is gone: asked for a moment, because its processes end before its record does.
Task<Result<bool>> is_gone(AgentClient& agent, int tries) {
  for (;;) {
    const auto detail = co_await agent.backend().detail(agent.sandbox().id);
    if (!detail.ok() && detail.error().code == Errc::not_found) co_return true;
    if (!detail.ok()) co_return detail.error();
    if (--tries <= 0) co_return false;
    co_await sleep_for(kAskAgain);
  }
}

InnerEnd sandbox_ended(Context& context, const std::string& id, const InnerRun& run) {
  // The node's clock began a little after this one.
  if (run.sandbox_until && context.clock.steady() + kClockSlack >= *run.sandbox_until)
    return {kExitTimeout, fmt::format("sandbox {} ended while the command ran: its --timeout ran out", id)};
  return {kExitAtoll, fmt::format("sandbox {} ended while the command ran: it was killed, or its time ran out "
                                  "(--timeout, atoll timeout)", id)};
}

// A stream that broke: what became of the sandbox matters more than what became of the connection.
Task<InnerEnd> explain_break(Context& context, AgentClient& agent, const Error& broken, const InnerRun& run) {
  const std::string& id = agent.sandbox().id;
  const auto gone = co_await is_gone(agent, kGoneTries);
  if (!gone.ok()) co_return InnerEnd{kExitAtoll, gone.error().message};
  if (*gone) co_return sandbox_ended(context, id, run);
  co_return InnerEnd{kExitAtoll, fmt::format("the connection to sandbox {} broke ({}); the sandbox runs, and so may the "
                                             "command", id, broken.message)};
}

Task<InnerEnd> explain(Context& context, AgentClient& agent, const Error& error, const InnerRun& run, bool started) {
  if (context.interrupts.received() != 0) co_return InnerEnd{128 + context.interrupts.received(), ""};
  // As SIGPIPE would have it; output that nobody reads (a pager that quit) is no failure worth words.
  if (error.os_error == EPIPE) co_return InnerEnd{128 + SIGPIPE, ""};
  if (error.code == Errc::deadline && run.spec.timeout_s)
    co_return InnerEnd{kExitTimeout, fmt::format("the command was ended: its --timeout of {} ran out",
                                                 format_duration(*run.spec.timeout_s))};
  if (error.code == Errc::unavailable && started) co_return co_await explain_break(context, agent, error, run);
  if (started) co_return InnerEnd{kExitAtoll, error.message};
  std::string why = error.message;
  if (why.starts_with("cwd '")) why += "; choose another working folder with --cwd";
  co_return InnerEnd{exit_code_of_start(error), std::move(why)};
}

}  // namespace

ProcessSpec spec_of(const InnerCommand& command, const Console& console) {
  ProcessSpec spec;
  spec.argv = command.argv;
  if (command.shell) {
    spec.argv = {"/bin/bash", "-l", "-c"};
    spec.argv.push_back(*command.shell);
  }
  spec.env = command.env;
  spec.cwd = command.cwd;
  const bool wanted = command.interactive || !console.input_is_terminal();
  spec.stdin_open = wanted && !command.no_stdin && !console.input_is_empty();
  return spec;
}

Task<InnerEnd> run_inner(Context& context, std::shared_ptr<AgentClient> agent, InnerRun run) {
  auto stream = co_await agent->start(run.spec);
  if (!stream.ok()) co_return co_await explain(context, *agent, stream.error(), run, false);
  SignalBinding signals(context, agent, **stream, run.on_interrupt);
  if (context.interrupts.received() != 0) co_return InnerEnd{128 + context.interrupts.received(), ""};
  // Only now, so that a start that was refused is told on a terminal in its usual mode.
  std::unique_ptr<RawTerminal> raw;
  if (run.spec.terminal) {
    auto entered = RawTerminal::enter();
    if (!entered.ok()) co_return InnerEnd{kExitAtoll, entered.error().message};
    raw = std::move(*entered);
  }
  std::uint32_t pid = 0;
  auto outcome = co_await copy_output(context, agent, **stream, signals, run.spec, pid);
  raw.reset();
  context.interrupts.on_resize(nullptr);
  if (outcome.ok() || !run.spec.terminal) context.console.stop_reading();
  if (!outcome.ok()) co_return co_await explain(context, *agent, outcome.error(), run, pid != 0);
  // It may have died with its sandbox, and the agent have lived to tell.
  if (*outcome == 128 + SIGKILL) {
    const auto gone = co_await is_gone(*agent, 1);
    if (gone.ok() && *gone) co_return sandbox_ended(context, agent->sandbox().id, run);
  }
  co_return InnerEnd{*outcome, ""};
}

Task<int> told(Context& context, InnerEnd end) {
  if (!end.why.empty()) co_await context.note(end.why);
  co_return end.exit_code;
}

}  // namespace atl::cli
