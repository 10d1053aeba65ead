#include "agent/router.h"

#include "agent/tunnel.h"
#include "base/json.h"

namespace atl::agent {
namespace {

Task<void> reply_json(rpc::Exchange& exchange, std::string body) {
  rpc::ReplyHead head;
  head.headers.add("content-type", "application/json");
  head.headers.add("cache-control", "no-store");
  (void)co_await exchange.reply(std::move(head), std::move(body));
}

Task<void> reply_no_content(rpc::Exchange& exchange) {
  rpc::ReplyHead head;
  head.status = 204;
  head.headers.add("cache-control", "no-store");
  std::string body;
  (void)co_await exchange.reply(std::move(head), std::move(body));
}

}  // namespace

Task<bool> Router::authorised(rpc::Exchange& exchange) {
  if (context_.token_matches(exchange.request().headers)) co_return true;
  const bool given = exchange.request().headers.get("x-access-token").has_value();
  co_await reply_plain_error(exchange, 401,
                             given ? "unauthorized access: X-Access-Token is not this sandbox's token"
                                   : "unauthorized access: the header X-Access-Token is missing");
  co_return false;
}

Task<void> Router::handle(rpc::Exchange& exchange) {
  const rpc::RequestHead& request = exchange.request();
  if (request.method == "CONNECT") {
    co_await handle_tunnel(exchange);
    co_return;
  }
  auto target = rpc::parse_target(request.target);
  if (!target.ok()) {
    co_await reply_plain_error(exchange, 400, target.error().message);
    co_return;
  }
  const std::string_view path = target->raw_path;
  const bool get = request.method == "GET" || request.method == "HEAD";
  if (path == "/health" && get)
    co_await reply_no_content(exchange);
  else if (path == "/metrics" && get)
    co_await handle_metrics(exchange);
  else if (path == "/envs" && get)
    co_await handle_envs(exchange);
  else if (path == "/files" || path.starts_with("/files/"))
    co_await files_.handle_http(exchange, *target);
  else if (path.starts_with("/process.Process/") || path.starts_with("/filesystem.Filesystem/"))
    co_await handle_rpc(exchange, *target);
  else
    co_await reply_plain_error(exchange, 404,
                               "not found: " + request.method + " " + std::string(path.substr(0, 200)));
}

Task<void> Router::handle_rpc(rpc::Exchange& exchange, const rpc::Target& target) {
  if (!co_await authorised(exchange)) co_return;
  if (exchange.request().method != "POST") {
    co_await reply_plain_error(exchange, 405, "an RPC is a POST");
    co_return;
  }
  const auto kind = content_kind(exchange.request());
  if (!kind) {
    co_await reply_unsupported_type(exchange);
    co_return;
  }
  const std::string_view path = target.raw_path;
  const std::string_view method = path.substr(path.rfind('/') + 1);
  if (path.substr(0, path.size() - method.size()) == "/process.Process/")
    co_await processes_.handle_rpc(exchange, method, kind->codec);
  else if (path.substr(0, path.size() - method.size()) == "/filesystem.Filesystem/")
    co_await files_.handle_rpc(exchange, method, kind->codec);
  else
    co_await reply_plain_error(exchange, 404, "no such RPC");
}

Task<void> Router::handle_metrics(rpc::Exchange& exchange) {
  if (!co_await authorised(exchange)) co_return;
  std::string body = co_await metrics_.report();
  co_await reply_json(exchange, std::move(body));
}

Task<void> Router::handle_envs(rpc::Exchange& exchange) {
  if (!co_await authorised(exchange)) co_return;
  json::object env;
  for (const auto& [name, value] : context_.env) env[name] = value;
  std::string body = json::serialize(env);
  co_await reply_json(exchange, std::move(body));
}

}  // namespace atl::agent
