// start, stop, restart.
#include <fmt/format.h>
#include <sys/wait.h>

#include <csignal>

#include "base/blocking.h"
#include "base/paths.h"
#include "cli/commands.h"
#include "cli/daemon.h"
#include "cli/duration.h"
#include "cli/exits.h"
#include "cli/fields.h"

namespace atl::cli {
namespace {

constexpr std::chrono::seconds kStartDeadline{60};
constexpr Millis kAskAgain{50};
constexpr Millis kAnswerDeadline{2'000};
constexpr int kStopMs = 45'000;           // three roles of at most 10 s each, and some
constexpr int kStopSandboxesMs = 180'000; // the supervisor gives the node 120 s for its sandboxes

Error ended_at_once(const Launched& launched, int status) {
  const std::string how = WIFEXITED(status) ? fmt::format("with exit code {}", WEXITSTATUS(status))
                                            : fmt::format("by signal {}", WTERMSIG(status));
  return make_error(Errc::internal,
                    fmt::format("atolld ended {} ({}): {}", how, launched.log, log_tail(launched)));
}

std::optional<std::string> no_environment(const char*) { return std::nullopt; }

// The daemon of these folders, whatever endpoint other commands would talk to.
GlobalOptions local_of(const Context& context) {
  GlobalOptions local = context.global;
  local.endpoint.clear();
  local.api_key_file.clear();
  return local;
}

// Whether all roles answer; otherwise what is still missing. Asked on a connection of its own, since
// the endpoint may change between tries.
Task<std::string> what_is_missing(Context& context) {
  const GlobalOptions local = local_of(context);
  const auto endpoint = find_endpoint(local, no_environment);
  if (!endpoint.ok()) co_return "the endpoint";
  const auto credentials = find_credentials(local, no_environment);
  Backend backend(context.executor, *endpoint, credentials.ok() ? credentials->api_key : "");
  const auto health = co_await backend.rest("GET", "/health", std::nullopt, kAnswerDeadline);
  if (!health.ok()) co_return "the edge and the api";
  if (!credentials.ok()) co_return "";  // an answer is all that can be asked for
  const auto status = co_await backend.rest("GET", "/atoll/v1/status", std::nullopt, kAnswerDeadline);
  if (!status.ok()) co_return "the api";
  const json::value* roles = member_of(status->body, "roles");
  if (roles && text_field(*roles, "node") != "connected") co_return "the node";
  co_return "";
}

Task<Status> wait_until_ready(Context& context, std::optional<Launched> launched) {
  const auto until = context.clock.steady() + kStartDeadline;
  std::string missing, told;
  while (context.clock.steady() < until) {
    missing = co_await what_is_missing(context);
    if (missing.empty()) co_return ok();
    int status = 0;
    if (launched && ::waitpid(launched->pid, &status, WNOHANG) == launched->pid) co_return ended_at_once(*launched, status);
    if (context.interrupts.received() != 0)
      co_return make_error(Errc::conflict, "stopped waiting; the daemon goes on starting, see: atoll status");
    if (missing != told && context.console.is_terminal(Stream::err))
      co_await context.note("waiting for " + missing);
    told = missing;
    co_await sleep_for(kAskAgain);
  }
  co_return make_error(Errc::deadline,
                       fmt::format("the daemon was started, but after {} s still without an answer: {}; look into {}",
                                   kStartDeadline.count(), missing,
                                   launched ? launched->log : std::string("journalctl -u atoll")));
}

// systemctl start|stop|restart; false where systemd has nothing to do with it.
Task<Result<bool>> by_systemd(Context& context, asio::thread_pool& pool, std::string verb) {
  if (!systemd_manages(context.global)) co_return false;
  Command command;
  command.argv = {"/usr/bin/systemctl"};
  command.argv.push_back(std::move(verb));
  command.argv.emplace_back("atoll.service");
  command.env = {"PATH=/usr/bin:/bin"};
  command.timeout_ms = 120'000;
  auto work = [command] { return run_ok(command); };
  CO_TRY(const std::string said, co_await run_blocking(pool, std::move(work)));
  co_return true;
}

Task<Status> tell_ready(Context& context, std::string_view what) {
  CO_TRY(const Endpoint endpoint, find_endpoint(local_of(context), no_environment));
  co_await context.note(fmt::format("{}, at {}", what, endpoint.url()));
  co_return ok();
}

Task<Status> start(Context& context, asio::thread_pool& pool, std::vector<std::string> words) {
  if (const RoleState daemon = role_state(context.global, "atolld"); daemon.alive) {
    CO_CHECK_OK(co_await wait_until_ready(context, std::nullopt));
    co_return co_await tell_ready(context, fmt::format("the daemon runs already (pid {}, for {})", daemon.process->pid,
                                                       format_duration(age_s(*daemon.process))));
  }
  std::optional<Launched> launched;
  bool managed = false;
  if (words.empty()) {  // a unit has options of its own
    CO_TRY(managed, co_await by_systemd(context, pool, "start"));
  }
  if (!managed) {
    CO_TRY(launched, launch_daemon(context.global, words));
  }
  CO_CHECK_OK(co_await wait_until_ready(context, launched));
  co_return co_await tell_ready(context, "the daemon runs");
}

// False: it did not run.
Task<Result<bool>> stop(Context& context, asio::thread_pool& pool, bool kill_sandboxes) {
  const RoleState daemon = role_state(context.global, "atolld");
  if (!daemon.alive) co_return false;
  if (!kill_sandboxes) {
    CO_TRY(const bool managed, co_await by_systemd(context, pool, "stop"));
    if (managed) co_return true;
  }
  const int signal = kill_sandboxes ? SIGUSR1 : SIGTERM;
  const int deadline = kill_sandboxes ? kStopSandboxesMs : kStopMs;
  auto work = [process = *daemon.process, signal, deadline] { return end_process(process, signal, deadline); };
  CO_CHECK_OK(co_await run_blocking(pool, std::move(work)));
  // Told by the signal and not by systemd, which would therefore start it again.
  if (kill_sandboxes) {
    CO_TRY(const bool managed, co_await by_systemd(context, pool, "stop"));
    static_cast<void>(managed);
  }
  co_return true;
}

}  // namespace

Task<Result<int>> execute(Context& context, StartOptions options) {
  asio::thread_pool pool(1);
  CO_CHECK_OK(co_await start(context, pool, std::move(options.daemon_words)));
  co_return kExitOk;
}

Task<Result<int>> execute(Context& context, StopOptions options) {
  asio::thread_pool pool(1);
  CO_TRY(const bool ran, co_await stop(context, pool, options.kill_sandboxes));
  co_await context.note(!ran                     ? "the daemon does not run"
                        : options.kill_sandboxes ? "the daemon and all sandboxes ended"
                                                 : "the daemon ended; its sandboxes go on running until their time is up");
  co_return kExitOk;
}

Task<Result<int>> execute(Context& context, RestartOptions options) {
  asio::thread_pool pool(1);
  CO_TRY(const bool ran, co_await stop(context, pool, false));
  CO_CHECK_OK(co_await start(context, pool, std::move(options.daemon_words)));
  if (!ran) co_await context.note("it did not run before");
  co_return kExitOk;
}

}  // namespace atl::cli
