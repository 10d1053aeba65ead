// The fake daemon's bodies; they are compiled with the tests alone.
#include "cli/args.h"
#include "cli/testing/fake_daemon.h"

namespace atl::cli::testing {
namespace {

json::object sandbox_json(const std::string& id) {
  json::object out;
  out["sandboxID"] = id;
  out["templateID"] = "base";
  out["state"] = "running";
  out["envdAccessToken"] = kToken;
  out["startedAt"] = "2030-01-01T00:00:00Z";
  out["endAt"] = "2030-01-01T00:05:00Z";
  return out;
}

}  // namespace

std::variant<Invocation, Say> FakeDaemon::parse_words(const std::vector<std::string>& args) {
  return parse_arguments(args);
}

Task<void> FakeDaemon::serve(FakeDaemon& daemon, rpc::Exchange& exchange) {
  const rpc::RequestHead& request = exchange.request();
  const auto target = rpc::parse_target(request.target);
  std::string path(target->raw_path);
  daemon.requests.push_back(request.method + " " + request.target);
  const auto body = co_await rpc::read_all(exchange.body(), 64u << 20);
  if (!body.ok()) co_return;
  const bool to_sandbox = request.headers.get("E2b-Sandbox-Id").has_value();
  if (to_sandbox && request.headers.get_or("X-Access-Token", "") != kToken) {
    co_await answer(exchange, 401, R"({"code":401,"message":"no token"})");
  } else if (!to_sandbox && request.headers.get_or("X-API-Key", "") != kKey) {
    co_await answer(exchange, 401, R"({"code":401,"message":"no key"})");
  } else if (path == "/process.Process/Start") {
    co_await serve_start(daemon, exchange, *body);
  } else if (to_sandbox) {
    co_await serve_agent(daemon, exchange, std::move(path), *body);
  } else {
    co_await serve_rest(daemon, exchange, std::move(path), *body);
  }
  daemon.changed.cancel();
}

Task<void> FakeDaemon::serve_rest(FakeDaemon& daemon, rpc::Exchange& exchange, std::string path, std::string body) {
  const std::string& method = exchange.request().method;
  const std::string id = path.substr(path.rfind('/') + 1);
  if (method == "POST" && path == "/v2/sandboxes") {
    const auto parsed = parse_json(body);
    daemon.last_create = parsed->as_object();
    daemon.sandboxes.insert("abc1");
    co_await answer(exchange, 201, json::serialize(sandbox_json("abc1")));
  } else if (method == "GET" && path == "/v2/sandboxes") {
    json::array all;
    for (const std::string& one : daemon.sandboxes) all.emplace_back(sandbox_json(one));
    co_await answer(exchange, 200, json::serialize(all));
  } else if (method == "GET" && daemon.rest.contains(path)) {
    co_await answer(exchange, 200, daemon.rest[path]);
  } else if (method == "POST" && path.ends_with("/timeout")) {
    co_await answer(exchange, 204, "");
  } else if (!daemon.sandboxes.contains(id)) {
    co_await answer(exchange, 404, R"({"code":404,"message":"sandbox was not found"})");
  } else if (method == "DELETE") {
    daemon.sandboxes.erase(id);
    daemon.killed.push_back(id);
    co_await answer(exchange, 204, "");
  } else {
    co_await answer(exchange, 200, json::serialize(sandbox_json(id)));
  }
}

Task<void> FakeDaemon::serve_start(FakeDaemon& daemon, rpc::Exchange& exchange, std::string body) {
  daemon.started.ParseFromString(body.substr(5));
  daemon.start_timeout = exchange.request().headers.get_or("Connect-Timeout-Ms", "");
  daemon.start_user = exchange.request().headers.get_or("Authorization", "");
  rpc::ReplyHead head;
  head.headers.set("Content-Type", "application/connect+proto");
  [[maybe_unused]] const Status sent = co_await exchange.start(std::move(head));
  if (!daemon.refusal.empty()) {
    const std::string end = rpc::envelope(rpc::kEnvelopeEnd, daemon.refusal);
    [[maybe_unused]] const Status refused = co_await exchange.write(end);
    [[maybe_unused]] const Status over = co_await exchange.finish();
    co_return;
  }
  process::StartResponse start;
  start.mutable_event()->mutable_start()->set_pid(42);
  co_await events(exchange, start);
  if (daemon.script) {
    co_await daemon.script(daemon, exchange);
  } else {
    co_await events(exchange, output("out\n", ""));
    co_await events(exchange, output("", "err\n"));
    co_await events(exchange, ended(7, true, "exit status 7"));
  }
  if (daemon.sandboxes.empty()) co_return;  // killed: the connection breaks
  const std::string end = rpc::envelope(rpc::kEnvelopeEnd, "{}");
  [[maybe_unused]] const Status ended = co_await exchange.write(end);
  [[maybe_unused]] const Status finished = co_await exchange.finish();
}

Task<void> FakeDaemon::serve_agent(FakeDaemon& daemon, rpc::Exchange& exchange, std::string path, std::string body) {
  const auto target = rpc::parse_target(exchange.request().target);
  const std::string file(target->param("path").value_or(""));
  if (path == "/process.Process/SendInput") {
    process::SendInputRequest request;
    request.ParseFromString(body);
    daemon.stdin_bytes += request.input().stdin();
    co_await answer(exchange, 200, "");
  } else if (path == "/process.Process/CloseStdin") {
    daemon.stdin_closed = true;
    co_await answer(exchange, 200, "");
  } else if (path == "/process.Process/SendSignal") {
    process::SendSignalRequest request;
    request.ParseFromString(body);
    daemon.signals.push_back(request.signal());
    if (daemon.refuses_signals)
      co_await answer(exchange, 500, R"({"code":"internal","message":"no signal today"})");
    else
      co_await answer(exchange, 200, "");
  } else if (path == "/filesystem.Filesystem/Stat") {
    filesystem::StatRequest request;
    request.ParseFromString(body);
    filesystem::StatResponse response;
    auto& entry = *response.mutable_entry();
    entry.set_path(request.path());
    entry.set_mode(0644);
    const bool folder = request.path() == "folder";
    entry.set_type(folder ? filesystem::FILE_TYPE_DIRECTORY : filesystem::FILE_TYPE_FILE);
    if (folder || daemon.files.contains(request.path())) co_await answer(exchange, 200, response.SerializeAsString());
    else co_await answer(exchange, 404, R"({"code":"not_found","message":"file not found"})");
  } else if (path == "/filesystem.Filesystem/ListDir") {
    co_await answer(exchange, 200, daemon.listing.SerializeAsString());
  } else if (path == "/filesystem.Filesystem/MakeDir") {
    co_await answer(exchange, 200, "");
  } else if (path == "/files" && exchange.request().method == "POST") {
    daemon.files[file] = body;
    co_await answer(exchange, 200, "[]");
  } else if (path == "/files" && daemon.files.contains(file)) {
    co_await answer(exchange, 200, daemon.files[file]);
  } else {
    co_await answer(exchange, 404, R"({"code":404,"message":"file not found"})");
  }
}

}  // namespace atl::cli::testing
