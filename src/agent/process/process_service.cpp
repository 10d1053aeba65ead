#include "agent/process/process_service.h"

#include <signal.h>

#include "agent/auth.h"
#include "agent/process/environment.h"
#include "agent/process/event_stream.h"
#include "base/blocking.h"
#include "base/limits.h"

namespace atl::agent {
namespace {

// Set when the exchange's client goes away; the callback also wakes whoever waits for the process.
std::shared_ptr<const bool> gone_flag(rpc::Exchange& exchange, const std::shared_ptr<Process>& process) {
  auto gone = std::make_shared<bool>(exchange.gone());
  exchange.on_gone([gone, process] {
    *gone = true;
    process->input_wakeup().notify();
  });
  return gone;
}

TerminalSize size_of(const ::process::PTY& pty) {
  if (!pty.has_size() || pty.size().cols() == 0 || pty.size().rows() == 0) return {};
  return {pty.size().cols(), pty.size().rows()};
}

template <class Reply>
Task<void> reply_status(rpc::Exchange& exchange, Codec codec, Status outcome) {
  if (!outcome.ok()) {
    co_await reply_error(exchange, outcome.error());
    co_return;
  }
  const Reply reply;
  co_await reply_unary(exchange, codec, reply);
}

}  // namespace

ProcessService::ProcessService(AgentContext& context, Reaper& reaper, ProcessTimes times,
                               std::optional<rlimit> open_files)
    : context_(context), reaper_(reaper), times_(times), open_files_(open_files), table_(context.clock) {}

Task<void> ProcessService::handle_rpc(rpc::Exchange& exchange, std::string_view method, Codec codec) {
  if (method == "List") return list(exchange, codec);
  if (method == "Start") return start(exchange, codec);
  if (method == "Connect") return connect(exchange, codec);
  if (method == "Update") return update(exchange, codec);
  if (method == "SendInput") return send_input(exchange, codec);
  if (method == "StreamInput") return stream_input(exchange, codec);
  if (method == "SendSignal") return send_signal(exchange, codec);
  if (method == "CloseStdin") return close_stdin(exchange, codec);
  return reply_plain_error(exchange, 404, "process.Process has no such method");
}

ProcessService::Deadline ProcessService::deadline_of(const rpc::Exchange& exchange) const {
  const auto timeout = connect_timeout(exchange.request().headers);
  if (!timeout) return std::nullopt;
  return context_.clock.steady() + *timeout;
}

Task<void> ProcessService::list(rpc::Exchange& exchange, Codec codec) {
  ::process::ListRequest request;
  if (!co_await read_unary(exchange, codec, request)) co_return;
  ::process::ListResponse reply;
  table_.list(reply);
  co_await reply_unary(exchange, codec, reply);
}

// The command's life is its own once launched; this handler only carries its events.
Task<void> ProcessService::start(rpc::Exchange& exchange, Codec codec) {
  const Deadline deadline = deadline_of(exchange);
  ::process::StartRequest request;
  if (!co_await read_stream_request(exchange, codec, request)) co_return;
  std::string user = user_name_or_default(context_, basic_user(exchange.request().headers));
  auto launched = co_await launch(std::move(request), std::move(user));
  if (!launched.ok()) {
    StreamWriter writer(exchange, codec);
    (void)co_await writer.finish(launched.error());
    co_return;
  }
  const std::shared_ptr<Process> process = *launched;
  // Attached before the first byte is read: run() spawns the readers, and they start later.
  auto reader = process->attach();
  process->run(deadline, [this, process] { table_.ended(process); });
  co_await stream_events(exchange, codec, process, std::move(reader), deadline, context_.clock);
}

Task<Result<std::shared_ptr<Process>>> ProcessService::launch(::process::StartRequest request,
                                                              std::string user) {
  CO_CHECK_OK(check_config(request.process()));
  if (!table_.reserve())
    co_return make_error(Errc::exhausted, "too many commands run in this sandbox: the limit is " +
                                              std::to_string(ProcessTable::kRunningMax));
  auto work = [this, &request, user = std::move(user)]() -> Result<Spawned> {
    TRY(SpawnPlan plan, plan_command(request.process(), user, context_.env, context_.boot.default_workdir));
    plan.open_files = open_files_;
    plan.stdin_pipe = !request.has_stdin() || request.stdin();
    if (request.has_pty()) plan.terminal = size_of(request.pty());
    return spawn_process(reaper_, plan);
  };
  auto spawned = co_await run_blocking(starters_, std::move(work));
  if (!spawned.ok()) {
    table_.cancel();
    co_return spawned.error();
  }
  auto process =
      std::make_shared<Process>(context_, reaper_, times_, std::move(request), std::move(*spawned));
  table_.add(process);
  co_return process;
}

Task<void> ProcessService::connect(rpc::Exchange& exchange, Codec codec) {
  const Deadline deadline = deadline_of(exchange);
  ::process::ConnectRequest request;
  if (!co_await read_stream_request(exchange, codec, request)) co_return;
  auto found = table_.find(request.process(), true);
  if (!found.ok()) {
    StreamWriter writer(exchange, codec);
    (void)co_await writer.finish(found.error());
    co_return;
  }
  auto reader = (*found)->attach();
  co_await stream_events(exchange, codec, *found, std::move(reader), deadline, context_.clock);
}

Task<void> ProcessService::update(rpc::Exchange& exchange, Codec codec) {
  ::process::UpdateRequest request;
  if (!co_await read_unary(exchange, codec, request)) co_return;
  auto found = table_.find(request.process(), false);
  Status outcome = ok();
  if (!found.ok())
    outcome = found.error();
  else if (request.has_pty() && request.pty().has_size())
    outcome = (*found)->resize(size_of(request.pty()));
  co_await reply_status<::process::UpdateResponse>(exchange, codec, std::move(outcome));
}

Task<Status> ProcessService::write(std::shared_ptr<Process> process, const ::process::ProcessInput& input,
                                   Wakeup::TimePoint deadline, std::shared_ptr<const bool> gone) {
  if (input.input_case() == ::process::ProcessInput::INPUT_NOT_SET)
    co_return make_error(Errc::invalid, "input: missing, stdin or pty is required");
  const bool for_terminal = input.has_pty();
  std::string bytes = for_terminal ? input.pty() : input.stdin();
  co_return co_await process->write_input(std::move(bytes), for_terminal, deadline, std::move(gone));
}

Task<void> ProcessService::send_input(rpc::Exchange& exchange, Codec codec) {
  const auto deadline = deadline_of(exchange).value_or(Wakeup::kNever);
  ::process::SendInputRequest request;
  if (!co_await read_unary(exchange, codec, request, &context_.pool)) co_return;
  auto found = table_.find(request.process(), false);
  Status outcome = ok();
  if (found.ok())
    outcome = co_await write(*found, request.input(), deadline, gone_flag(exchange, *found));
  else
    outcome = found.error();
  co_await reply_status<::process::SendInputResponse>(exchange, codec, std::move(outcome));
}

Task<void> ProcessService::stream_input(rpc::Exchange& exchange, Codec codec) {
  const auto kind = content_kind(exchange.request());
  if (!kind || !kind->stream) {
    co_await reply_unsupported_type(exchange);
    co_return;
  }
  Status outcome = co_await apply_input_stream(exchange, codec);
  StreamWriter writer(exchange, codec);
  if (outcome.ok()) {
    const ::process::StreamInputResponse reply;
    outcome = co_await writer.send(reply);
  }
  (void)co_await writer.finish(std::move(outcome));
}

// Reads until the client's end of body; an error ends it at once, with the body still open. The
// client's total deadline is its own: no body of input is too long.
Task<Status> ProcessService::apply_input_stream(rpc::Exchange& exchange, Codec codec) {
  rpc::EnvelopeReader reader(exchange.body(), limits::rpc_message_bytes_max);
  std::shared_ptr<Process> process;
  std::shared_ptr<const bool> gone;
  for (;;) {
    auto next = co_await reader.next();
    if (!next.ok()) co_return next.error();
    if (!next->has_value() || ((*next)->flags & rpc::kEnvelopeEnd) != 0) break;
    if (((*next)->flags & rpc::kEnvelopeCompressed) != 0)
      co_return make_error(Errc::unsupported, "compressed messages are not spoken here: send identity");
    ::process::StreamInputRequest request;
    CO_CHECK_OK(co_await parse_message_on(context_.pool, (*next)->payload, codec, request));
    if (request.has_start()) {
      if (process) co_return make_error(Errc::invalid, "a second start in one stream");
      CO_TRY(process, table_.find(request.start().process(), false));
      gone = gone_flag(exchange, process);
    } else if (request.has_data()) {
      if (!process)
        co_return make_error(Errc::invalid, "data before start: the first message names the process");
      CO_CHECK_OK(co_await write(process, request.data().input(), Wakeup::kNever, gone));
    }
  }
  if (!process) co_return make_error(Errc::invalid, "the stream ended without a start message");
  co_return ok();
}

Task<void> ProcessService::send_signal(rpc::Exchange& exchange, Codec codec) {
  ::process::SendSignalRequest request;
  if (!co_await read_unary(exchange, codec, request)) co_return;
  auto found = table_.find(request.process(), false);
  Status outcome = ok();
  if (!found.ok())
    outcome = found.error();
  else if (request.signal() == ::process::SIGNAL_SIGKILL)
    outcome = (*found)->signal(SIGKILL);
  else if (request.signal() == ::process::SIGNAL_SIGTERM)
    outcome = (*found)->signal(SIGTERM);
  else if (static_cast<int>(request.signal()) == SIGINT)  // no name in E2B's enum; `atoll` sends the number
    outcome = (*found)->interrupt();
  else
    outcome = make_error(Errc::unsupported,
                         "invalid signal: SIGNAL_SIGTERM, SIGNAL_SIGKILL and 2 (SIGINT) can be sent");
  co_await reply_status<::process::SendSignalResponse>(exchange, codec, std::move(outcome));
}

Task<void> ProcessService::close_stdin(rpc::Exchange& exchange, Codec codec) {
  ::process::CloseStdinRequest request;
  if (!co_await read_unary(exchange, codec, request)) co_return;
  auto found = table_.find(request.process(), false);
  Status outcome = found.ok() ? (*found)->close_input() : Status(found.error());
  co_await reply_status<::process::CloseStdinResponse>(exchange, codec, std::move(outcome));
}

}  // namespace atl::agent
