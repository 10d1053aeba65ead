#include <fmt/format.h>

#include "cli/commands.h"
#include "cli/ephemeral.h"
#include "cli/exits.h"
#include "cli/inner_process.h"

namespace atl::cli {
namespace {

// What a command that could not be run was nearly always meant to be.
std::string hint(const InnerCommand& command, int exit_code) {
  if (exit_code != kExitNoCommand && exit_code != kExitCannotInvoke) return "";
  if (command.shell && exit_code == kExitNoCommand)
    return "; this template has no bash for --shell: give the words after --";
  if (command.shell || command.argv.size() != 1 || command.argv[0].find(' ') == std::string::npos) return "";
  return fmt::format("; \"{}\" was taken as the name of one program: for a command line use --shell", command.argv[0]);
}

Task<int> run_hinted(Context& context, std::shared_ptr<AgentClient> agent, const InnerCommand& command, InnerRun run) {
  InnerEnd end = co_await run_inner(context, std::move(agent), std::move(run));
  if (!end.why.empty()) end.why += hint(command, end.exit_code);
  co_return co_await told(context, std::move(end));
}

}  // namespace

Task<Result<int>> execute(Context& context, RunOptions options) {
  CO_TRY(const auto backend, context.connect());
  InnerRun run{spec_of(options.command, context.console), OnInterrupt::run, {}};
  if (options.sandbox.timeout_s)
    run.sandbox_until = context.clock.steady() + std::chrono::seconds(*options.sandbox.timeout_s);
  CO_TRY(auto fresh, co_await Ephemeral::create(context, backend, options.sandbox, options.keep));
  int exit_code = 128 + context.interrupts.received();
  if (context.interrupts.received() == 0) {
    auto agent = std::make_shared<AgentClient>(backend, fresh->access(), options.command.user);
    exit_code = co_await run_hinted(context, std::move(agent), options.command, std::move(run));
  }
  co_await fresh->end();
  co_return exit_code;
}

Task<Result<int>> execute(Context& context, ExecOptions options) {
  CO_TRY(const auto backend, context.connect());
  CO_TRY(const SandboxAccess access, co_await backend->access(options.id));
  auto agent = std::make_shared<AgentClient>(backend, access, options.command.user);
  InnerRun run{spec_of(options.command, context.console), OnInterrupt::exec, {}};
  run.spec.timeout_s = options.timeout_s;
  co_return co_await run_hinted(context, std::move(agent), options.command, std::move(run));
}

}  // namespace atl::cli
