#include "edge/proxy.h"

#include "base/crypto.h"
#include "base/limits.h"
#include "edge/forward.h"
#include "edge/replies.h"

namespace atl::edge {
namespace {

using namespace asio::experimental::awaitable_operators;

constexpr std::string_view kTrafficToken = "e2b-traffic-access-token";

SandboxError error_of(int status, std::string_view message, const std::string& id,
                      std::optional<std::uint16_t> port = std::nullopt) {
  return {status, std::string(message), id, port};
}

// A sandbox's channel carries so many requests at once.
bool is_full(const Status& status) {
  return !status.ok() && status.error().code == Errc::exhausted;
}

// Says so where nobody will answer any more: the reply was cut.
void log_cut(const Forwarded& done, std::string_view where, const std::string& id) {
  if (!done.status.ok())
    log_debug("stream ended early", {{"to", where}, {"sandbox", id}, {"error", done.status.error().message}});
}

Task<Result<rpc::ReplyHead>> head_within(rpc::ClientExchange& exchange, Millis at_most) {
  auto outcome = co_await (exchange.head() || sleep_for(at_most));
  if (outcome.index() == 0) co_return std::get<0>(std::move(outcome));
  co_return make_error(Errc::deadline,
                       "no answer of the agent within " + std::to_string(at_most.count()) + " ms");
}

}  // namespace

Task<void> Proxy::handle(rpc::Exchange& exchange, const Door& door) {
  Route where = route(exchange.request(), door.domain);
  switch (where.kind) {
    case Route::Kind::rest:
      co_await to_api(exchange);
      break;
    case Route::Kind::refused: {
      SandboxError error = error_of(where.status, where.message, where.id);
      co_await reply_sandbox_error(exchange, std::move(error));
      break;
    }
    default:
      co_await to_sandbox(exchange, std::move(where), door.secure);
  }
}

Task<void> Proxy::to_api(rpc::Exchange& exchange) {
  const rpc::RequestHead& request = exchange.request();
  if (is_preflight(request)) {
    co_await reply_preflight(exchange);
    co_return;
  }
  const std::string too_large =
      "the body is larger than " + std::to_string(limits::rest_body_bytes_max) + " bytes, the limit";
  if (request.content_length && *request.content_length > limits::rest_body_bytes_max) {
    co_await reply_rest_error(exchange, 413, too_large);
    co_return;
  }
  rpc::RequestHead head = forwarded_head(request);
  head.headers.set("x-atoll-client", exchange.peer());
  auto upstream = co_await api_.open(std::move(head), exchange.has_body());
  Forwarded done;
  if (upstream.ok()) {
    ForwardOptions options;
    options.request_bytes_max = limits::rest_body_bytes_max;
    options.body_idle_max = kRestBodyIdle;
    options.edit_reply = [](rpc::ReplyHead& reply) { add_cors(reply.headers); };
    done = co_await forward(exchange, **upstream, std::move(options));
  } else {
    done.status = upstream.error();
  }
  if (done.reply_started || exchange.gone()) co_return;
  if (done.request_too_large) {
    co_await reply_rest_error(exchange, 413, too_large);
    co_return;
  }
  if (done.request_too_slow) {
    co_await reply_rest_error(exchange, 408, "the request's body stood still for 10 s");
    co_return;
  }
  log_warn("the api did not answer", {{"error", done.status.ok() ? "" : done.status.error().message}});
  co_await reply_rest_error(exchange, 503,
                            "the api role is not there now; it is started again, try in a second", 1);
}

Task<std::shared_ptr<LiveSandbox>> Proxy::sandbox_of(rpc::Exchange& exchange, Route where) {
  if (!co_await registry_.wait_synced(kSyncWait)) {
    co_await reply_rest_error(exchange, 503,
                              "the edge does not know the node's sandboxes yet; try in a second", 1);
    co_return nullptr;
  }
  std::shared_ptr<LiveSandbox> found;
  if (where.kind == Route::Kind::by_token) {
    found = registry_.find_by_token(exchange.request().headers.get_or("x-access-token", ""));
  } else if (where.kind == Route::Kind::by_signature) {
    if (const auto asked = signed_request(exchange.request())) {
      auto sandbox = registry_.find_by_signature(*asked);
      if (!sandbox.ok() && sandbox.error().code == Errc::exhausted) {
        co_await reply_rest_error(exchange, 429, sandbox.error().message, 1);
        co_return nullptr;
      }
      if (sandbox.ok()) found = *sandbox;
    }
  } else {
    found = registry_.find(where.id);
  }
  if (!found) {
    SandboxError error = error_of(502, kNotFound, where.id);
    co_await reply_sandbox_error(exchange, std::move(error));
  }
  co_return found;
}

Task<void> Proxy::to_sandbox(rpc::Exchange& exchange, Route where, bool secure) {
  const bool agents = where.kind != Route::Kind::port;
  if (agents && is_preflight(exchange.request())) {
    co_await reply_preflight(exchange);
    co_return;
  }
  const std::uint16_t port = where.port;
  auto sandbox = co_await sandbox_of(exchange, std::move(where));
  if (!sandbox) co_return;
  if (agents)
    co_await to_agent(exchange, std::move(sandbox));
  else
    co_await to_port(exchange, std::move(sandbox), port, secure);
}

Task<void> Proxy::to_agent(rpc::Exchange& exchange, std::shared_ptr<LiveSandbox> sandbox) {
  const auto channel = co_await registry_.wait_channel(sandbox, kChannelWait);
  Forwarded done;
  done.status = make_error(Errc::unavailable, "no channel");
  if (channel) {
    rpc::RequestHead head = forwarded_head(exchange.request());
    auto upstream = co_await channel->open(std::move(head), exchange.has_body());
    if (upstream.ok()) {
      ForwardOptions options;
      if (path_of(exchange.request().target).starts_with("/files")) options.body_idle_max = kFileBodyIdle;
      options.edit_reply = [](rpc::ReplyHead& reply) { add_cors(reply.headers); };
      done = co_await forward(exchange, **upstream, std::move(options));
    } else {
      done.status = upstream.error();
    }
  }
  log_cut(done, "agent", sandbox->id);
  if (done.reply_started || exchange.gone()) co_return;
  if (is_full(done.status)) {
    SandboxError full = error_of(429, kTooMany, sandbox->id, kAgentPort);
    co_await reply_sandbox_error(exchange, std::move(full));
    co_return;
  }
  // It may have ended while the request was under way: then it is "not found", which clients tell
  // from a sandbox whose agent is away.
  const bool alive = registry_.find(sandbox->id) == sandbox;
  SandboxError error = error_of(502, alive ? kPortClosed : kNotFound, sandbox->id);
  if (alive) error.port = kAgentPort;
  co_await reply_sandbox_error(exchange, std::move(error));
}

Task<Result<std::unique_ptr<rpc::ClientExchange>>> Proxy::dial(std::shared_ptr<LiveSandbox> sandbox,
                                                               std::uint16_t port) {
  for (int attempt = 1;; ++attempt) {
    const auto channel = co_await registry_.wait_channel(sandbox, kChannelWait);
    if (!channel) co_return make_error(Errc::unavailable, "no channel");
    rpc::RequestHead head;
    head.method = "CONNECT";
    head.authority = "127.0.0.1:" + std::to_string(port);
    auto exchange = co_await channel->open(std::move(head), true);
    if (!exchange.ok() && exchange.error().code == Errc::exhausted) co_return exchange.error();
    if (exchange.ok()) {
      const auto reply = co_await head_within(**exchange, kDialDeadline);
      if (reply.ok() && reply->status == 200) co_return std::move(*exchange);
    }
    if (attempt == kDialTries) co_return make_error(Errc::unavailable, "nobody listens");
    co_await sleep_for(Millis(std::min(100 * attempt, 400)));
  }
}

Task<void> Proxy::to_port(rpc::Exchange& exchange, std::shared_ptr<LiveSandbox> sandbox, std::uint16_t port,
                          bool secure) {
  const rpc::RequestHead& request = exchange.request();
  if (!sandbox->traffic_token.empty() &&
      !equal_constant_time(request.headers.get_or(kTrafficToken, ""), sandbox->traffic_token)) {
    SandboxError error =
        error_of(403, "the sandbox's ports need the header e2b-traffic-access-token with its traffic token",
                 sandbox->id, port);
    co_await reply_sandbox_error(exchange, std::move(error));
    co_return;
  }
  auto tunnel = co_await dial(sandbox, port);
  Forwarded done;
  if (tunnel.ok()) {
    rpc::RequestHead head = port_head(request, sandbox->mask_request_host, port, exchange.peer(), secure);
    auto stream = tunnel_stream(std::move(*tunnel));
    auto upstream = co_await rpc::http1_over(std::move(stream), std::move(head), exchange.has_body());
    if (upstream.ok()) {
      ForwardOptions options;
      options.body_idle_max = kPortBodyIdle;
      done = co_await forward(exchange, **upstream, std::move(options));
    } else {
      done.status = upstream.error();
    }
  } else {
    done.status = tunnel.error();
  }
  log_cut(done, "port", sandbox->id);
  if (done.reply_started || exchange.gone()) co_return;
  if (is_full(done.status)) {
    SandboxError full = error_of(429, kTooMany, sandbox->id, port);
    co_await reply_sandbox_error(exchange, std::move(full));
    co_return;
  }
  const bool alive = registry_.find(sandbox->id) == sandbox;
  std::string_view message = alive ? kPortClosed : kNotFound;
  if (alive && tunnel.ok()) message = "The sandbox's server closed the connection without an answer";
  SandboxError error = error_of(502, message, sandbox->id, port);
  co_await reply_sandbox_error(exchange, std::move(error));
}

rpc::RequestHead port_head(const rpc::RequestHead& request, const std::string& mask_host, std::uint16_t port,
                           const std::string& client, bool secure) {
  rpc::RequestHead head = forwarded_head(request);
  head.upgrade = request.upgrade;
  head.headers.erase(kTrafficToken);
  head.headers.set("x-forwarded-host", request.authority);
  if (!mask_host.empty()) {
    head.authority = mask_host;
    constexpr std::string_view kPort = "${PORT}";
    if (const auto at = head.authority.find(kPort); at != std::string::npos)
      head.authority.replace(at, kPort.size(), std::to_string(port));
  }
  if (!client.empty()) {
    const std::string before(head.headers.get_or("x-forwarded-for", ""));
    head.headers.set("x-forwarded-for", before.empty() ? client : before + ", " + client);
  }
  // A proxy in front of the plain listener may know better; in front of TLS there is none.
  if (secure)
    head.headers.set("x-forwarded-proto", "https");
  else if (!head.headers.get("x-forwarded-proto"))
    head.headers.add("x-forwarded-proto", "http");
  return head;
}

}  // namespace atl::edge
