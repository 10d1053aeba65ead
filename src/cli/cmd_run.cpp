#include <fmt/format.h>

#include "cli/commands.h"
#include "cli/ephemeral.h"
#include "cli/exits.h"
#include "cli/inner_process.h"

namespace atl::cli {
namespace {

// One word with blanks that could not be run is nearly always a command line for a shell.
std::string shell_hint(const InnerCommand& command) {
  if (command.shell || command.argv.size() != 1 || command.argv[0].find(' ') == std::string::npos) return "";
  return fmt::format("; \"{}\" was taken as the name of one program: for a command line use --shell", command.argv[0]);
}

Task<Result<int>> run_hinted(Context& context, std::shared_ptr<AgentClient> agent, const InnerCommand& command,
                             OnInterrupt policy) {
  InnerRun run{spec_of(command, context.console), policy};
  auto outcome = co_await run_inner(context, std::move(agent), std::move(run));
  if (outcome.ok() || outcome.error().code == Errc::unavailable) co_return outcome;
  Error error = outcome.error();
  error.message += shell_hint(command);
  co_return error;
}

}  // namespace

Task<Result<int>> execute(Context& context, RunOptions options) {
  CO_TRY(const auto backend, context.connect());
  CO_TRY(auto fresh, co_await Ephemeral::create(context, backend, options.sandbox, options.keep));
  Result<int> outcome = 128 + context.interrupts.received();
  if (context.interrupts.received() == 0) {
    auto agent = std::make_shared<AgentClient>(backend, fresh->access(), options.command.user);
    outcome = co_await run_hinted(context, std::move(agent), options.command, OnInterrupt::abandon);
  }
  co_await fresh->end();
  co_return outcome;
}

Task<Result<int>> execute(Context& context, ExecOptions options) {
  CO_TRY(const auto backend, context.connect());
  CO_TRY(const SandboxAccess access, co_await backend->access(options.id));
  auto agent = std::make_shared<AgentClient>(backend, access, options.command.user);
  co_return co_await run_hinted(context, std::move(agent), options.command, OnInterrupt::terminate);
}

}  // namespace atl::cli
