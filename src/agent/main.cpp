// atoll-agent: process 1 of every sandbox. Its boot config comes on standard input
// (agent/boot_config.h); its log is standard error; it never ends by itself.
#include <google/protobuf/stubs/logging.h>
#include <unistd.h>

#include "agent/boot_config.h"
#include "agent/channel.h"
#include "agent/context.h"
#include "agent/files/files_service.h"
#include "agent/init.h"
#include "agent/machine/machine.h"
#include "agent/metrics.h"
#include "agent/process/process_service.h"
#include "agent/reaper.h"
#include "agent/router.h"
#include "agent/start_command.h"
#include "base/log.h"

namespace atl::agent {
namespace {

constexpr std::size_t kPoolThreads = 4;

// A sandbox whose start command failed is none: its end makes the create fail, with this log's end as the reason.
Task<void> serve_when_ready(AgentContext& context, StartCommand& start, Router& router) {
  const Status ready = co_await start.run();
  if (!ready.ok()) {
    log_error("no start", {{"error", ready.error().message}});
    ::_exit(1);
  }
  co_await serve_channel(context, [&router](rpc::Exchange& e) { return router.handle(e); });
}

int run() {
  log_configure("agent", Level::info);
  harden_process();
  crypto_init();
  // protobuf writes a line of its own to standard error for each message with a wrong byte: a
  // client could fill the log. The parse fails all the same, and the client is told.
  google::protobuf::SetLogHandler(nullptr);
  if (machine::is_machine()) {
    if (const Status entered = machine::enter(); !entered.ok()) {
      log_error("no start", {{"error", entered.error().message}});
      return 1;
    }
  }
  auto boot = read_boot_config(STDIN_FILENO);
  const Status sealed = seal_standard_streams();
  if (!boot.ok() || !sealed.ok()) {
    log_error("no start", {{"error", boot.ok() ? sealed.error().message : boot.error().message}});
    return 1;
  }
  const auto open_files = raise_open_files();
  const bool process_1 = ::getpid() == 1;
  if (process_1) set_up_sandbox(*boot);

  asio::io_context loop(1);
  asio::thread_pool pool(kPoolThreads);
  const SystemClock clock;
  AgentContext context{loop.get_executor(), pool, clock, std::move(*boot), {}};
  context.env = sandbox_env(context.boot);
  Reaper reaper(context.executor);
  reaper.start();
  ProcessService processes(context, reaper, ProcessTimes{}, open_files);
  FilesService files(context);
  Metrics metrics(context, MetricsRoots{});
  Router router(context, processes, files, metrics);
  log_info("agent runs", {{"sandbox", context.boot.sandbox_id}, {"process1", process_1 ? "yes" : "no"}});
  StartCommand start(context, reaper, StartTimes{}, open_files);
  spawn(context.executor, "channel", serve_when_ready(context, start, router));
  for (;;) {
    try {
      loop.run();
      loop.restart();
    } catch (const std::exception& error) {
      log_error("loop", {{"error", error.what()}});
    }
  }
}

}  // namespace
}  // namespace atl::agent

int main() {
  return atl::agent::run();
}
