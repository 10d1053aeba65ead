#include "agent/start_command.h"

#include <signal.h>
#include <unistd.h>

#include <boost/asio/posix/stream_descriptor.hpp>

#include "agent/auth.h"
#include "agent/process/environment.h"
#include "agent/process/exit_status.h"
#include "base/blocking.h"

namespace atl::agent {
namespace {

constexpr std::size_t kTailBytes = 500;

::process::ProcessConfig shell_of(const std::string& script) {
  ::process::ProcessConfig config;
  const bool bash = ::access("/bin/bash", X_OK) == 0;
  config.set_cmd(bash ? "/bin/bash" : "/bin/sh");
  if (bash) config.add_args("-l");
  config.add_args("-c");
  config.add_args(script);
  return config;
}

bool succeeded(int wait_status) {
  return WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0;
}

}  // namespace

StartCommand::StartCommand(AgentContext& context, Reaper& reaper, StartTimes times,
                           std::optional<rlimit> open_files)
    : context_(context),
      reaper_(reaper),
      times_(times),
      open_files_(open_files),
      changed_(std::make_shared<Wakeup>(context.executor)) {}

Task<Status> StartCommand::run() {
  if (context_.boot.start_cmd.empty() && context_.boot.ready_cmd.empty()) co_return ok();
  ChildPtr start;
  if (!context_.boot.start_cmd.empty()) {
    auto launched = co_await launch(context_.boot.start_cmd, true);
    if (!launched.ok()) co_return with_context(std::move(launched).error(), "start command");
    start = *launched;
  }
  if (context_.boot.ready_cmd.empty()) co_return ok();
  co_return co_await wait_ready(start);
}

Task<Result<StartCommand::ChildPtr>> StartCommand::launch(std::string script, bool keep_log) {
  auto work = [this, script = std::move(script)]() -> Result<Spawned> {
    TRY(SpawnPlan plan, plan_command(shell_of(script), user_name_or_default(context_, std::nullopt),
                                     context_.env, context_.boot.default_workdir));
    plan.stdin_pipe = false;
    plan.open_files = open_files_;
    return spawn_process(reaper_, plan);
  };
  CO_TRY(Spawned spawned, co_await run_blocking(context_.pool, std::move(work)));
  auto child = std::make_shared<Child>();
  child->changed = changed_;
  child->pid = spawned.pid;
  child->keep_log = keep_log;
  for (UniqueFd* fd : {&spawned.out, &spawned.err}) {
    asio::posix::stream_descriptor output(context_.executor, fd->release());
    spawn(context_.executor, "start command's output", pump(child, std::move(output)));
  }
  auto on_end = [child](int status) {
    child->status = status;
    if (child->keep_log) log_warn("the start command ended", {{"status", exit_report(status).status}});
    child->changed->notify();
  };
  reaper_.watch(child->pid, std::move(on_end));
  co_return child;
}

Task<Status> StartCommand::wait_ready(ChildPtr start) {
  const auto deadline = context_.clock.steady() + times_.ready;
  Status last = ok();
  for (;;) {
    if (start && start->status) {
      if (succeeded(*start->status)) co_return ok();
      co_return make_error(Errc::internal, "the start command ended before it was ready: " +
                                               exit_report(*start->status).status + ": " + start->tail);
    }
    const auto now = context_.clock.steady();
    if (now >= deadline)
      co_return make_error(Errc::deadline, "the ready command did not succeed within " +
                                               std::to_string(times_.ready.count()) + " ms: " +
                                               last.error().message);
    Status outcome = co_await probe(start, deadline);
    if (outcome.ok()) co_return ok();
    // One that the deadline cut says less than the one before it.
    if (last.ok() || outcome.error().code != Errc::deadline) last = std::move(outcome);
    const auto again = std::min(context_.clock.steady() + times_.retry, deadline);
    if (!start || !start->status) co_await changed_->wait_until(again);
  }
}

// One run of the ready command, which the start command's end and the deadline cut short.
Task<Status> StartCommand::probe(ChildPtr start, Wakeup::TimePoint deadline) {
  CO_TRY(ChildPtr child, co_await launch(context_.boot.ready_cmd, false));
  while (!child->status && !(start && start->status)) {
    co_await changed_->wait_until(deadline);
    if (context_.clock.steady() >= deadline) break;
  }
  if (child->status && succeeded(*child->status)) co_return ok();
  if (!child->status) {
    // It leads a session of its own; its children go with it.
    if (reaper_.signal(child->pid, SIGKILL)) ::kill(-child->pid, SIGKILL);
    co_return make_error(Errc::deadline, "it was still running: " + child->tail);
  }
  co_return make_error(Errc::internal, exit_report(*child->status).status + ": " + child->tail);
}

void StartCommand::take(Child& child, std::string_view bytes) {
  child.tail.append(bytes);
  if (child.tail.size() > kTailBytes) child.tail.erase(0, child.tail.size() - kTailBytes);
  if (!child.keep_log || child.logged >= kLoggedBytesMax) return;
  const std::string_view shown = bytes.substr(0, kLoggedBytesMax - child.logged);
  child.logged += shown.size();
  log_info("start command", {{"output", std::string(shown)}});
}

Task<void> StartCommand::pump(ChildPtr child, asio::posix::stream_descriptor output) {
  std::string buffer(4096, '\0');
  for (;;) {
    const auto [error, n] =
        co_await output.async_read_some(asio::buffer(buffer), asio::as_tuple(asio::use_awaitable));
    if (error) co_return;
    take(*child, std::string_view(buffer.data(), n));
  }
}

}  // namespace atl::agent
