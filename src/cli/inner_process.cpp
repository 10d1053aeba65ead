#include "cli/inner_process.h"

#include <fmt/format.h>

#include <csignal>

#include "cli/exits.h"
#include "cli/raw_terminal.h"

namespace atl::cli {
namespace {

constexpr std::size_t kInputBytesMax = 64 * 1024;

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

Task<void> send_signal(std::shared_ptr<AgentClient> agent, std::uint32_t pid, int number) {
  [[maybe_unused]] const Status sent = co_await agent->signal(pid, number);
}

Task<void> send_size(std::shared_ptr<AgentClient> agent, std::uint32_t pid) {
  [[maybe_unused]] const Status sent = co_await agent->resize(pid, terminal_size());
}

void follow_size(Context& context, std::shared_ptr<AgentClient> agent, std::uint32_t pid) {
  context.interrupts.on_resize([agent, pid, executor = context.executor] {
    spawn(executor, "resize", send_size(agent, pid));
  });
}

// Binds signals to one process while it runs; the stream must live as long.
class SignalBinding {
 public:
  SignalBinding(Context& context, std::shared_ptr<AgentClient> agent, ProcessStream& stream, OnInterrupt policy)
      : interrupts_(context.interrupts) {
    interrupts_.on_interrupt([this, agent, &stream, policy, executor = context.executor](int) {
      ++signals_;
      if (policy == OnInterrupt::abandon || signals_ > 2 || pid_ == 0) return stream.cancel();
      spawn(executor, "signal", send_signal(agent, pid_, signals_ == 1 ? SIGTERM : SIGKILL));
    });
  }
  ~SignalBinding() { interrupts_.on_interrupt(nullptr); }
  SignalBinding(const SignalBinding&) = delete;
  SignalBinding& operator=(const SignalBinding&) = delete;
  void set_pid(std::uint32_t pid) { pid_ = pid; }

 private:
  Interrupts& interrupts_;
  std::uint32_t pid_ = 0;
  int signals_ = 0;
};

Stream stream_of(OutputKind kind) { return kind == OutputKind::err ? Stream::err : Stream::out; }

Task<Result<int>> copy_output(Context& context, std::shared_ptr<AgentClient> agent, ProcessStream& stream,
                              SignalBinding& signals, const ProcessSpec& spec) {
  std::uint32_t pid = 0;
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

// A stream that broke: what became of the sandbox matters more than what became of the connection.
Task<Error> explain_break(AgentClient& agent, Error broken) {
  const std::string& id = agent.sandbox().id;
  const auto detail = co_await agent.backend().detail(id);
  if (!detail.ok() && detail.error().code == Errc::not_found)
    co_return make_error(Errc::not_found, fmt::format("sandbox {} ended while the command ran: it was killed, or its "
                                                      "time ran out (--timeout, atoll timeout)", id));
  if (!detail.ok()) co_return detail.error();
  broken.message = fmt::format("the connection to sandbox {} broke ({}); the sandbox runs, and so may the command", id,
                               broken.message);
  co_return broken;
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

Task<Result<int>> run_inner(Context& context, std::shared_ptr<AgentClient> agent, InnerRun run) {
  CO_TRY(auto stream, co_await agent->start(run.spec));
  SignalBinding signals(context, agent, *stream, run.on_interrupt);
  if (context.interrupts.received() != 0 && run.on_interrupt == OnInterrupt::abandon)
    co_return 128 + context.interrupts.received();
  // Only now, so that a start that was refused is told on a terminal in its usual mode.
  std::unique_ptr<RawTerminal> raw;
  if (run.spec.terminal) {
    CO_TRY(raw, RawTerminal::enter());
  }
  auto outcome = co_await copy_output(context, agent, *stream, signals, run.spec);
  raw.reset();
  context.interrupts.on_resize(nullptr);
  if (outcome.ok() || !run.spec.terminal) context.console.stop_reading();
  if (!outcome.ok() && context.interrupts.received() != 0) co_return 128 + context.interrupts.received();
  if (!outcome.ok() && outcome.error().code == Errc::unavailable) co_return co_await explain_break(*agent, outcome.error());
  co_return outcome;
}

}  // namespace atl::cli
