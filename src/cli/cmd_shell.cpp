#include <fmt/format.h>

#include <cstdlib>

#include "cli/commands.h"
#include "cli/ephemeral.h"
#include "cli/exits.h"
#include "cli/inner_process.h"
#include "cli/raw_terminal.h"

namespace atl::cli {
namespace {

ProcessSpec terminal_spec(const ShellOptions& options, const Environment& environment) {
  ProcessSpec spec;
  spec.argv = options.command.argv;
  if (options.command.shell) {
    spec.argv = {"/bin/bash", "-l", "-c"};
    spec.argv.push_back(*options.command.shell);
  }
  spec.cwd = options.command.cwd;
  spec.terminal = terminal_size();
  spec.env = {{"TERM", environment("TERM").value_or("xterm-256color")}, {"LANG", "C.UTF-8"}, {"LC_ALL", "C.UTF-8"}};
  if (const auto colour = environment("COLORTERM")) spec.env.emplace_back("COLORTERM", *colour);
  for (const auto& pair : options.command.env) spec.env.push_back(pair);
  return spec;
}

// The shells that templates have, best first; each is tried until one starts.
std::vector<std::vector<std::string>> shells() {
  std::vector<std::vector<std::string>> all;
  all.push_back({"/bin/bash", "-i", "-l"});
  all.push_back({"/bin/sh", "-i", "-l"});
  all.push_back({"/bin/sh", "-i"});
  return all;
}

Task<InnerEnd> attach(Context& context, std::shared_ptr<AgentClient> agent, const ShellOptions& options,
                      InnerRun run) {
  run.spec = terminal_spec(options, context.environment);
  if (!run.spec.argv.empty()) co_return co_await run_inner(context, agent, std::move(run));
  InnerEnd end;
  for (auto& words : shells()) {
    run.spec.argv = std::move(words);
    end = co_await run_inner(context, agent, run);
    // A shell that ran may end with 127 too, of its own.
    if (end.exit_code != kExitNoCommand || end.why.empty()) break;
  }
  co_return end;
}

}  // namespace

Task<Result<int>> execute(Context& context, ShellOptions options) {
  if (!context.console.input_is_terminal() || !context.console.is_terminal(Stream::out)) {
    co_await context.note("shell needs a terminal on standard input and output; without one use: atoll exec ID -- COMMAND");
    co_return kExitUsage;
  }
  CO_TRY(const auto backend, context.connect());
  std::unique_ptr<Ephemeral> fresh;
  SandboxAccess access;
  InnerRun run{{}, OnInterrupt::abandon, {}};
  if (options.fresh) {
    if (options.fresh->timeout_s)
      run.sandbox_until = context.clock.steady() + std::chrono::seconds(*options.fresh->timeout_s);
    CO_TRY(fresh, co_await Ephemeral::create(context, backend, *options.fresh, options.keep));
    access = fresh->access();
  } else {
    CO_TRY(access, co_await backend->access(options.id));
  }
  int exit_code = 128 + context.interrupts.received();
  if (context.interrupts.received() == 0) {
    auto agent = std::make_shared<AgentClient>(backend, access, options.command.user);
    InnerEnd end = co_await attach(context, std::move(agent), options, std::move(run));
    exit_code = co_await told(context, std::move(end));
  }
  if (fresh) co_await fresh->end();
  co_return exit_code;
}

}  // namespace atl::cli
