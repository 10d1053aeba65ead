#include "cli/agent_client.h"

#include <fmt/format.h>

#include "base/crypto.h"
#include "base/limits.h"
#include "cli/version.h"
#include "proto/filesystem.pb.h"
#include "proto/process.pb.h"
#include "rpc/url.h"

namespace atl::cli {
namespace {

constexpr Millis kUnaryDeadline{60'000};
constexpr std::size_t kErrorBodyBytesMax = 64 * 1024;

// The agent calls a user that does not exist unauthenticated, as E2B's does; here that is no matter of
// keys.
Error clarified(Error error) {
  if (error.code == Errc::unauthenticated && error.message.find("invalid username") != std::string::npos) {
    error.code = Errc::invalid;
    error.message = error.message.substr(0, error.message.find(" (the API key")) +
                    ": the sandbox has no such user; choose one with --user, for example --user root";
  }
  return error;
}

// The end frame of a stream: {} or {"error":{"code","message"}}.
std::optional<Error> failure_of_end(std::string_view payload) {
  auto parsed = parse_json(payload.empty() ? "{}" : payload);
  if (!parsed.ok()) return with_context(parsed.error(), "the stream's end frame");
  const json::object* object = parsed->if_object();
  const json::value* error = object ? object->if_contains("error") : nullptr;
  if (!error) return std::nullopt;
  const JsonReader reader(*error);
  const auto code = reader.opt_string("code");
  const auto message = reader.opt_string("message");
  Error out;
  out.code = code.ok() && *code ? errc_of_connect(**code) : Errc::internal;
  out.message = message.ok() && *message ? **message : "the agent gave no reason";
  return out;
}

std::optional<ProcessEvent> event_of(const process::ProcessEvent& event) {
  if (event.has_start()) return ProcessStarted{event.start().pid()};
  if (event.has_end())
    return ProcessEnded{event.end().exit_code(), event.end().exited(), event.end().status(), event.end().error()};
  if (!event.has_data()) return std::nullopt;  // keep-alive, or a kind of a later version
  const auto& data = event.data();
  switch (data.output_case()) {
    case process::ProcessEvent::DataEvent::kStdout: return ProcessOutput{OutputKind::out, data.stdout()};
    case process::ProcessEvent::DataEvent::kStderr: return ProcessOutput{OutputKind::err, data.stderr()};
    case process::ProcessEvent::DataEvent::kPty: return ProcessOutput{OutputKind::terminal, data.pty()};
    default: return std::nullopt;
  }
}

RemoteFile file_of(const filesystem::EntryInfo& entry) {
  RemoteFile file;
  file.name = entry.name();
  file.path = entry.path();
  file.is_directory = entry.type() == filesystem::FILE_TYPE_DIRECTORY;
  file.is_regular = entry.type() == filesystem::FILE_TYPE_FILE;
  file.is_link = entry.is_symlink() || entry.permissions().starts_with('L');
  file.size = entry.size() > 0 ? entry.size() : 0;
  file.mode = entry.mode() & 07777;
  return file;
}

process::StartRequest start_request(const ProcessSpec& spec) {
  process::StartRequest request;
  auto& config = *request.mutable_process();
  config.set_cmd(spec.argv[0]);
  for (std::size_t i = 1; i < spec.argv.size(); ++i) config.add_args(spec.argv[i]);
  for (const auto& [name, value] : spec.env) (*config.mutable_envs())[name] = value;
  if (!spec.cwd.empty()) config.set_cwd(spec.cwd);
  if (spec.terminal) {
    request.mutable_pty()->mutable_size()->set_cols(spec.terminal->columns);
    request.mutable_pty()->mutable_size()->set_rows(spec.terminal->rows);
  } else {
    request.set_stdin(spec.stdin_open);
  }
  return request;
}

}  // namespace

ProcessStream::ProcessStream(std::unique_ptr<rpc::ClientExchange> exchange, std::string what)
    : exchange_(std::move(exchange)), reader_(*exchange_, limits::rpc_message_bytes_max), what_(std::move(what)) {}

Task<Result<ProcessEvent>> ProcessStream::next() {
  for (;;) {
    CO_TRY(auto envelope, co_await reader_.next());
    if (!envelope)
      co_return make_error(Errc::unavailable, what_ + ": the connection ended before the command did");
    if (envelope->flags & rpc::kEnvelopeEnd) {
      if (auto failure = failure_of_end(envelope->payload)) co_return clarified(std::move(*failure));
      co_return make_error(Errc::internal, what_ + ": the agent ended the stream without the command's end");
    }
    process::StartResponse response;
    if (!response.ParseFromString(envelope->payload))
      co_return make_error(Errc::internal, what_ + ": the agent sent an event that cannot be read");
    if (auto event = event_of(response.event())) co_return std::move(*event);
  }
}

rpc::RequestHead AgentClient::head(std::string method, std::string target) const {
  rpc::RequestHead head;
  head.method = std::move(method);
  head.target = std::move(target);
  head.authority = backend_->endpoint().authority();
  head.headers.set("User-Agent", std::string("atoll/") + kVersion);
  head.headers.set("E2b-Sandbox-Id", sandbox_.id);
  head.headers.set("E2b-Sandbox-Port", "49983");
  if (!sandbox_.access_token.empty()) head.headers.set("X-Access-Token", sandbox_.access_token);
  if (!user_.empty()) head.headers.set("Authorization", "Basic " + base64(user_ + ":"));
  return head;
}

Task<Result<std::string>> AgentClient::unary(std::string rpc_path, std::string message) {
  rpc::RequestHead request = head("POST", rpc_path);
  request.headers.set("Content-Type", "application/proto");
  request.headers.set("Connect-Protocol-Version", "1");
  auto reply = co_await rpc::call(backend_->http(), std::move(request), std::move(message),
                                  limits::rpc_message_bytes_max, kUnaryDeadline);
  if (!reply.ok()) {
    if (reply.error().code == Errc::deadline || reply.error().code == Errc::too_large)
      co_return with_context(reply.error(), rpc_path);
    co_return backend_->unreachable(reply.error());
  }
  if (reply->head.status != 200) co_return clarified(error_of_reply(reply->head.status, reply->body, rpc_path));
  co_return std::move(reply->body);
}

Task<Result<rpc::ReplyHead>> AgentClient::checked_head(rpc::ClientExchange& exchange, const std::string& what) {
  auto reply = co_await exchange.head();
  if (!reply.ok()) co_return backend_->unreachable(reply.error());
  if (reply->status >= 200 && reply->status <= 299) co_return std::move(reply);
  auto body = co_await rpc::read_all(exchange, kErrorBodyBytesMax);
  co_return clarified(error_of_reply(reply->status, body.ok() ? *body : std::string(), what));
}

Task<Result<std::unique_ptr<ProcessStream>>> AgentClient::start(const ProcessSpec& spec) {
  const std::string what = fmt::format("run {} in {}", spec.argv[0], sandbox_.id);
  const std::string message = rpc::envelope(0, start_request(spec).SerializeAsString());
  rpc::RequestHead request = head("POST", "/process.Process/Start");
  request.headers.set("Content-Type", "application/connect+proto");
  request.headers.set("Connect-Protocol-Version", "1");
  request.headers.set("Keepalive-Ping-Interval", "50");
  if (spec.timeout_s) request.headers.set("Connect-Timeout-Ms", std::to_string(*spec.timeout_s * 1000));
  request.content_length = message.size();
  auto exchange = co_await backend_->http().open(std::move(request), true);
  if (!exchange.ok()) co_return backend_->unreachable(exchange.error());
  // A failed write is no verdict: the reply's head tells why the request was refused.
  if (const Status sent = co_await (*exchange)->write(message); sent.ok())
    [[maybe_unused]] const Status finished = co_await (*exchange)->finish_body();
  CO_TRY(const auto reply, co_await checked_head(**exchange, what));
  co_return std::make_unique<ProcessStream>(std::move(*exchange), what);
}

Task<Status> AgentClient::send_input(std::uint32_t pid, std::string_view bytes, bool to_terminal) {
  process::SendInputRequest request;
  request.mutable_process()->set_pid(pid);
  if (to_terminal) request.mutable_input()->set_pty(std::string(bytes));
  else request.mutable_input()->set_stdin(std::string(bytes));
  CO_TRY(const auto reply, co_await unary("/process.Process/SendInput", request.SerializeAsString()));
  co_return ok();
}

Task<Status> AgentClient::close_input(std::uint32_t pid) {
  process::CloseStdinRequest request;
  request.mutable_process()->set_pid(pid);
  CO_TRY(const auto reply, co_await unary("/process.Process/CloseStdin", request.SerializeAsString()));
  co_return ok();
}

Task<Status> AgentClient::resize(std::uint32_t pid, TerminalSize size) {
  process::UpdateRequest request;
  request.mutable_process()->set_pid(pid);
  request.mutable_pty()->mutable_size()->set_cols(size.columns);
  request.mutable_pty()->mutable_size()->set_rows(size.rows);
  CO_TRY(const auto reply, co_await unary("/process.Process/Update", request.SerializeAsString()));
  co_return ok();
}

Task<Status> AgentClient::signal(std::uint32_t pid, int number) {
  process::SendSignalRequest request;
  request.mutable_process()->set_pid(pid);
  request.set_signal(static_cast<process::Signal>(number));
  CO_TRY(const auto reply, co_await unary("/process.Process/SendSignal", request.SerializeAsString()));
  co_return ok();
}

Task<Result<RemoteFile>> AgentClient::stat(const std::string& path) {
  filesystem::StatRequest request;
  request.set_path(path);
  CO_TRY(const auto reply, co_await unary("/filesystem.Filesystem/Stat", request.SerializeAsString()));
  filesystem::StatResponse response;
  if (!response.ParseFromString(reply)) co_return make_error(Errc::internal, "Stat: the agent's answer cannot be read");
  co_return file_of(response.entry());
}

Task<Result<std::vector<RemoteFile>>> AgentClient::list(const std::string& path) {
  filesystem::ListDirRequest request;
  request.set_path(path);
  request.set_depth(1);
  CO_TRY(const auto reply, co_await unary("/filesystem.Filesystem/ListDir", request.SerializeAsString()));
  filesystem::ListDirResponse response;
  if (!response.ParseFromString(reply)) co_return make_error(Errc::internal, "ListDir: the agent's answer cannot be read");
  std::vector<RemoteFile> files;
  for (const auto& entry : response.entries()) files.push_back(file_of(entry));
  co_return files;
}

Task<Status> AgentClient::make_dir(const std::string& path) {
  filesystem::MakeDirRequest request;
  request.set_path(path);
  const auto reply = co_await unary("/filesystem.Filesystem/MakeDir", request.SerializeAsString());
  if (!reply.ok() && reply.error().code != Errc::exists && reply.error().code != Errc::conflict) co_return reply.error();
  co_return ok();
}

std::string AgentClient::files_target(const std::string& path) const {
  std::string target = "/files?path=" + rpc::percent_encode(path);
  if (!user_.empty()) target += "&username=" + rpc::percent_encode(user_);
  return target;
}

Task<Result<AgentClient::Download>> AgentClient::download(const std::string& path) {
  rpc::RequestHead request = head("GET", files_target(path));
  request.headers.set("Accept-Encoding", "identity");
  auto exchange = co_await backend_->http().open(std::move(request), false);
  if (!exchange.ok()) co_return backend_->unreachable(exchange.error());
  CO_TRY(auto reply, co_await checked_head(**exchange, "download " + path));
  co_return Download{std::move(*exchange), reply.content_length};
}

Task<Result<std::unique_ptr<rpc::ClientExchange>>> AgentClient::upload(const std::string& path,
                                                                       std::optional<std::uint64_t> bytes) {
  rpc::RequestHead request = head("POST", files_target(path));
  request.headers.set("Content-Type", "application/octet-stream");
  request.content_length = bytes;
  auto exchange = co_await backend_->http().open(std::move(request), true);
  if (!exchange.ok()) co_return backend_->unreachable(exchange.error());
  co_return std::move(*exchange);
}

Task<Status> AgentClient::finish_upload(rpc::ClientExchange& exchange, const std::string& path) {
  // As in start: when the other side stopped reading, its reply says why.
  [[maybe_unused]] const Status finished = co_await exchange.finish_body();
  CO_TRY(const auto reply, co_await checked_head(exchange, "upload " + path));
  CO_TRY(const auto body, co_await rpc::read_all(exchange, kErrorBodyBytesMax));
  co_return ok();
}

}  // namespace atl::cli
