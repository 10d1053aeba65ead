#include "edge/replies.h"

#include "base/json.h"

namespace atl::edge {

bool is_navigation(const rpc::RequestHead& request) {
  if (request.method != "GET" && request.method != "HEAD") return false;
  const auto mode = request.headers.get_or("sec-fetch-mode", "");
  if (!mode.empty()) return mode == "navigate";
  const bool html = request.headers.get_or("accept", "").find("text/html") != std::string_view::npos;
  return html && request.headers.get_or("user-agent", "").starts_with("Mozilla/");
}

std::string html_escape(std::string_view text) {
  std::string out;
  for (char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

Task<void> reply_sandbox_error(rpc::Exchange& exchange, SandboxError error) {
  rpc::ReplyHead head;
  head.status = error.status;
  add_cors(head.headers);
  std::string body;
  if (is_navigation(exchange.request())) {
    head.headers.add("content-type", "text/html; charset=utf-8");
    head.headers.add("content-security-policy", "default-src 'none'");
    body = "<!doctype html><title>" + std::to_string(error.status) + "</title><h1>" +
           html_escape(error.message) + "</h1><p>Sandbox " + html_escape(error.id) +
           (error.port ? ", port " + std::to_string(*error.port) : "") + "</p>\n";
  } else {
    head.headers.add("content-type", "application/json");
    json::object object{{"sandboxId", error.id}, {"message", error.message}, {"code", error.status}};
    if (error.port) object["port"] = *error.port;
    body = json::serialize(object);
  }
  (void)co_await exchange.reply(std::move(head), std::move(body));
}

Task<void> reply_rest_error(rpc::Exchange& exchange, int status, std::string message, int retry_after_s) {
  rpc::ReplyHead head;
  head.status = status;
  add_cors(head.headers);
  head.headers.add("content-type", "application/json");
  if (retry_after_s > 0) {
    head.headers.add("retry-after", std::to_string(retry_after_s));
    head.headers.add("should-retry", "true");
  }
  std::string body = json::serialize(json::object{{"code", status}, {"message", message}});
  (void)co_await exchange.reply(std::move(head), std::move(body));
}

bool is_preflight(const rpc::RequestHead& request) {
  return request.method == "OPTIONS" && request.headers.get("origin") &&
         request.headers.get("access-control-request-method");
}

void add_cors(rpc::Headers& headers) {
  if (!headers.get("access-control-allow-origin")) headers.add("access-control-allow-origin", "*");
  if (!headers.get("access-control-expose-headers"))
    headers.add(
        "access-control-expose-headers",
        "X-Next-Token, X-Total-Running, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset, Retry-After");
}

Task<void> reply_preflight(rpc::Exchange& exchange) {
  const auto& asked = exchange.request().headers;
  rpc::ReplyHead head;
  head.status = 204;
  head.headers.add("access-control-allow-origin", "*");
  head.headers.add("access-control-allow-methods", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
  head.headers.add("access-control-allow-headers", asked.get_or("access-control-request-headers", "*"));
  head.headers.add("access-control-max-age", "7200");
  head.headers.add("vary", "Access-Control-Request-Headers");
  (void)co_await exchange.reply(std::move(head), "");
}

}  // namespace atl::edge
