#include <csignal>
#include <cstdio>

#include "base/crypto.h"
#include "cli/args.h"
#include "cli/commands.h"
#include "cli/exits.h"
#include "cli/system_console.h"
#include "cli/text.h"

namespace atl::cli {
namespace {

Task<void> command_task(Context& context, Invocation invocation, asio::io_context& loop, int& exit_code) {
  exit_code = co_await dispatch(context, std::move(invocation));
  // Kept connections and the signal set would hold the loop for ever.
  loop.stop();
}

// Those that pass on the exit code of a command inside.
bool runs_command(const CommandOptions& command) {
  return std::holds_alternative<RunOptions>(command) || std::holds_alternative<ExecOptions>(command) ||
         std::holds_alternative<ShellOptions>(command);
}

}  // namespace

Task<int> dispatch(Context& context, Invocation invocation) {
  const bool passes_on = runs_command(invocation.command);
  auto done = co_await std::visit([&context](auto&& options) { return execute(context, std::move(options)); },
                                  std::move(invocation.command));
  if (done.ok()) co_return *done;
  // Output that nobody reads (a pager that quit) is no failure worth words.
  if (done.error().os_error == EPIPE) co_return 128 + SIGPIPE;
  co_await context.note(done.error().message);
  co_return passes_on ? static_cast<int>(kExitAtoll) : exit_code_for(done.error());
}

int run_program(const std::vector<std::string>& args) {
  auto parsed = parse_arguments(args);
  if (const Say* say = std::get_if<Say>(&parsed)) {
    std::fputs(say->text.c_str(), say->exit_code == kExitOk ? stdout : stderr);
    return std::fflush(stdout) == 0 ? say->exit_code : kExitOther;
  }
  std::signal(SIGPIPE, SIG_IGN);
  crypto_init();
  asio::io_context loop(1);
  auto console = SystemConsole::make();
  if (!console.ok()) {
    std::fprintf(stderr, "atoll: %s\n", console.error().message.c_str());
    return kExitOther;
  }
  Interrupts interrupts(loop.get_executor());
  const SystemClock clock;
  auto& invocation = std::get<Invocation>(parsed);
  Context context{loop.get_executor(), **console, interrupts, clock, invocation.global, process_environment()};
  int exit_code = kExitOther;
  spawn(loop.get_executor(), "command", command_task(context, std::move(invocation), loop, exit_code));
  loop.run();
  return exit_code;
}

}  // namespace atl::cli
