#include "cli/backend.h"

#include <fmt/format.h>

#include "base/limits.h"
#include "cli/version.h"
#include "rpc/url.h"

namespace atl::cli {
namespace {

constexpr std::size_t kConnectionsMax = 8;  // output stream, input, resize, keep-alive, and some to spare
constexpr Millis kConnectDeadline{5'000};
constexpr std::size_t kReplyBytesMax = 64u << 20;
constexpr int kPagesMax = 1000;

Errc errc_of_status(int status, std::string_view message) {
  switch (status) {
    case 400: return Errc::invalid;
    case 401: return Errc::unauthenticated;
    case 403: return Errc::denied;
    case 404: return Errc::not_found;
    case 409: return Errc::conflict;
    case 413: return Errc::too_large;
    case 501: return Errc::unsupported;
    case 504: return Errc::deadline;
    // 503 and 429 are capacity: the daemon was there to say so.
    case 429: case 503: case 507: return Errc::exhausted;
    case 502: return message.find("was not found") != std::string_view::npos ? Errc::not_found : Errc::internal;
    default: return Errc::internal;
  }
}

json::value create_body(const NewSandbox& sandbox) {
  json::object body;
  body["templateID"] = sandbox.template_name;
  if (sandbox.timeout_s) body["timeout"] = *sandbox.timeout_s;
  json::object env, metadata;
  for (const auto& [name, value] : sandbox.env) env[name] = value;
  for (const auto& [name, value] : sandbox.metadata) metadata[name] = value;
  // E2B's body has no field for the tier; this key of the metadata is Atoll's.
  if (!sandbox.tier.empty()) metadata["atoll.tier"] = sandbox.tier;
  if (!env.empty()) body["envVars"] = std::move(env);
  if (!metadata.empty()) body["metadata"] = std::move(metadata);
  return body;
}

}  // namespace

Status check_id(const std::string& id) {
  bool fine = !id.empty() && id.size() <= limits::id_bytes_max;
  for (const char c : id) fine = fine && ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-');
  if (!fine)
    return make_error(Errc::invalid, fmt::format("\"{}\" is not a sandbox's id (1 to {} of a-z and 0-9); see: atoll ls",
                                                 id, limits::id_bytes_max));
  return ok();
}

Errc errc_of_connect(std::string_view code) {
  static constexpr std::pair<std::string_view, Errc> kCodes[] = {
      {"invalid_argument", Errc::invalid},     {"unauthenticated", Errc::unauthenticated},
      {"permission_denied", Errc::denied},     {"not_found", Errc::not_found},
      {"failed_precondition", Errc::conflict}, {"aborted", Errc::conflict},
      {"already_exists", Errc::exists},        {"resource_exhausted", Errc::exhausted},
      {"deadline_exceeded", Errc::deadline},   {"unimplemented", Errc::unsupported}};
  for (const auto& [name, errc] : kCodes)
    if (name == code) return errc;
  return Errc::internal;
}

Error error_of_reply(int status, std::string_view body, std::string_view what) {
  std::string message;
  std::optional<Errc> named;
  if (auto parsed = parse_json(body); parsed.ok() && parsed->is_object()) {
    const json::object& object = parsed->as_object();
    if (const auto* text = object.if_contains("message"); text && text->is_string()) message = text->as_string();
    if (const auto* code = object.if_contains("code"); code && code->is_string()) named = errc_of_connect(code->as_string());
  }
  const Errc code = named && *named != Errc::internal ? *named : errc_of_status(status, message);
  if (message.empty()) message = fmt::format("{}: the daemon answered HTTP status {} without a reason", what, status);
  if (code == Errc::unauthenticated && message.find("API key") == std::string::npos)
    message += " (the API key was refused: check --api-key-file, E2B_API_KEY or run as root)";
  return make_error(code, message);
}

Result<SandboxAccess> access_of(const json::value& sandbox) {
  const JsonReader reader(sandbox);
  SandboxAccess access;
  TRY(access.id, reader.string("sandboxID"));
  TRY(auto token, reader.opt_string("envdAccessToken"));
  access.access_token = token.value_or("");
  return access;
}

std::string list_target(const std::string& state, const Pairs& metadata, const std::string& next_token) {
  std::string target = "/v2/sandboxes?limit=100";
  if (!state.empty()) target += "&state=" + rpc::percent_encode(state);
  if (!metadata.empty()) {
    std::string pairs;
    for (const auto& [name, value] : metadata) {
      if (!pairs.empty()) pairs += "&";
      pairs += rpc::percent_encode(rpc::percent_encode(name)) + "=" + rpc::percent_encode(rpc::percent_encode(value));
    }
    target += "&metadata=" + rpc::percent_encode(pairs);
  }
  if (!next_token.empty()) target += "&nextToken=" + rpc::percent_encode(next_token);
  return target;
}

Backend::Backend(asio::any_io_executor executor, Endpoint endpoint, std::string api_key)
    : endpoint_(std::move(endpoint)), api_key_(std::move(api_key)) {
  rpc::Http1Target target;
  target.host = endpoint_.host;
  target.port = endpoint_.port;
  http_ = rpc::http1_client(executor, target, kConnectionsMax, kConnectDeadline);
}

Error Backend::unreachable(const Error& cause) const {
  return make_error(Errc::unavailable, fmt::format("the daemon cannot be reached at {} ({}); see what is wrong with: "
                                                   "atoll status, start it with: atoll start",
                                                   endpoint_.authority(), cause.message));
}

rpc::RequestHead Backend::head(std::string method, std::string target) const {
  rpc::RequestHead head;
  head.method = std::move(method);
  head.target = std::move(target);
  head.authority = endpoint_.authority();
  head.headers.set("User-Agent", std::string("atoll/") + kVersion);
  if (!api_key_.empty()) head.headers.set("X-API-Key", api_key_);
  return head;
}

Task<Result<RestReply>> Backend::rest(std::string method, std::string target, std::optional<json::value> body,
                                      Millis deadline) {
  const std::string what = method + " " + target.substr(0, target.find('?'));
  rpc::RequestHead request = head(std::move(method), std::move(target));
  std::string text;
  if (body) {
    text = json::serialize(*body);
    request.headers.set("Content-Type", "application/json");
  }
  auto reply = co_await rpc::call(*http_, std::move(request), std::move(text), kReplyBytesMax, deadline);
  if (!reply.ok()) {
    if (reply.error().code == Errc::deadline)
      co_return make_error(Errc::deadline, fmt::format("{}: no answer within {} s", what, deadline.count() / 1000));
    co_return reply.error().code == Errc::too_large ? reply.error() : unreachable(reply.error());
  }
  if (reply->head.status < 200 || reply->head.status > 299)
    co_return error_of_reply(reply->head.status, reply->body, what);
  RestReply out{reply->head.status, std::move(reply->head.headers), nullptr};
  if (!reply->body.empty()) {
    auto parsed = parse_json(reply->body);
    if (!parsed.ok())
      co_return make_error(Errc::internal, fmt::format("{}: the answer is not JSON ({}); is this an Atoll endpoint?", what,
                                                       parsed.error().message));
    out.body = std::move(*parsed);
  }
  co_return out;
}

Task<Result<json::value>> Backend::create(const NewSandbox& sandbox) {
  std::optional<json::value> body = create_body(sandbox);
  auto reply = co_await rest("POST", "/v2/sandboxes", std::move(body));
  if (!reply.ok()) co_return with_context(reply.error(), fmt::format("create from template \"{}\"", sandbox.template_name));
  co_return std::move(reply->body);
}

Task<Result<json::value>> Backend::detail(const std::string& id) {
  CO_CHECK_OK(check_id(id));
  CO_TRY(auto reply, co_await rest("GET", "/sandboxes/" + id));
  co_return std::move(reply.body);
}

Task<Result<SandboxAccess>> Backend::access(const std::string& id) {
  CO_TRY(const json::value sandbox, co_await detail(id));
  const JsonReader reader(sandbox);
  CO_TRY(const auto state, reader.opt_string("state"));
  if (state.value_or("running") != "running")
    co_return make_error(Errc::conflict, fmt::format("sandbox {} is {}, not running", id, *state));
  co_return access_of(sandbox);
}

Task<Status> Backend::kill(const std::string& id) {
  CO_CHECK_OK(check_id(id));
  CO_TRY(const auto reply, co_await rest("DELETE", "/sandboxes/" + id));
  co_return ok();
}

Task<Status> Backend::set_timeout(const std::string& id, std::int64_t seconds) {
  CO_CHECK_OK(check_id(id));
  json::object fields;
  fields["timeout"] = seconds;
  std::optional<json::value> body = json::value(std::move(fields));
  CO_TRY(const auto reply, co_await rest("POST", "/sandboxes/" + id + "/timeout", std::move(body)));
  co_return ok();
}

Task<Result<Backend::Listing>> Backend::list(const std::string& state, const Pairs& metadata, bool all) {
  Listing listing;
  std::string next;
  for (int page = 0; page < kPagesMax; ++page) {
    CO_TRY(auto reply, co_await rest("GET", list_target(state, metadata, next)));
    if (!reply.body.is_array()) co_return make_error(Errc::internal, "GET /v2/sandboxes: the answer is not an array");
    for (json::value& entry : reply.body.as_array()) listing.sandboxes.push_back(std::move(entry));
    next = reply.headers.get_or("X-Next-Token", "");
    listing.more = !next.empty();
    if (next.empty() || !all) co_return listing;
  }
  co_return listing;
}

}  // namespace atl::cli
