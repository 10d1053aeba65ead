#include "control/routes.h"

#include "base/deadline.h"
#include "base/limits.h"
#include "control/ids.h"

namespace atl::control {
namespace {

constexpr Millis kBodyDeadline{10'000};
constexpr auto kKey = Access::key;

// Fixed paths stand before those with "{}" of the same length.
constexpr Route kRoutes[] = {
    {"GET", "/health", Access::open, health},
    {"POST", "/sandboxes", kKey, create_v1},
    {"GET", "/sandboxes", kKey, list_v1},
    {"POST", "/v2/sandboxes", kKey, create_v2},
    {"GET", "/v2/sandboxes", kKey, list_v2},
    {"GET", "/sandboxes/metrics", kKey, list_metrics},
    {"GET", "/sandboxes/{}", kKey, get_sandbox},
    {"DELETE", "/sandboxes/{}", kKey, kill_sandbox},
    {"GET", "/sandboxes/{}/metrics", kKey, get_metrics},
    {"GET", "/sandboxes/{}/logs", kKey, logs_v1},
    {"GET", "/v2/sandboxes/{}/logs", kKey, logs_v2},
    {"POST", "/sandboxes/{}/connect", kKey, connect_v1},
    {"POST", "/v2/sandboxes/{}/connect", kKey, connect_v2},
    {"POST", "/sandboxes/{}/timeout", kKey, set_timeout},
    {"POST", "/sandboxes/{}/refreshes", kKey, refresh},
    {"PUT", "/sandboxes/{}/network", kKey, put_network},
    {"POST", "/sandboxes/{}/pause", kKey, not_built_sandbox, "pausing a sandbox"},
    {"POST", "/sandboxes/{}/resume", kKey, not_built_sandbox, "resuming a sandbox"},
    {"POST", "/sandboxes/{}/fork", kKey, not_built_sandbox, "forking a sandbox"},
    {"POST", "/sandboxes/{}/snapshots", kKey, not_built_sandbox, "saving a snapshot"},
    {"GET", "/snapshots", kKey, not_built, "saving snapshots"},

    {"GET", "/templates", kKey, list_templates},
    {"GET", "/v2/templates", kKey, list_templates_v2},
    {"GET", "/templates/aliases/{}", kKey, get_alias},
    {"GET", "/templates/{}", kKey, get_template},
    {"DELETE", "/templates/{}", kKey, not_built, "deleting a template over the API"},
    {"PATCH", "/templates/{}", kKey, not_built, "changing a template over the API"},
    {"PATCH", "/v2/templates/{}", kKey, not_built, "changing a template over the API"},
    {"POST", "/v3/templates", kKey, not_built, "building a template over the API"},
    {"POST", "/v2/templates", kKey, not_built, "building a template over the API"},
    {"POST", "/templates", kKey, not_built, "building a template over the API"},
    {"POST", "/v2/templates/{}/builds/{}", kKey, not_built, "building a template over the API"},
    {"GET", "/templates/{}/builds/{}/status", kKey, not_built, "building a template over the API"},
    {"GET", "/templates/{}/builds/{}/logs", kKey, not_built, "building a template over the API"},
    {"GET", "/templates/{}/files/{}", kKey, not_built, "building a template over the API"},
    {"POST", "/templates/tags", kKey, not_built, "tagging a template"},
    {"DELETE", "/templates/tags", kKey, not_built, "tagging a template"},
    {"GET", "/templates/{}/tags", kKey, not_built, "tagging a template"},

    {"POST", "/templates/{}", kKey, not_built, "building a template over the API"},
    {"POST", "/templates/{}/builds/{}", kKey, not_built, "building a template over the API"},

    {"GET", "/teams", kKey, list_teams},
    {"GET", "/teams/{}/metrics", kKey, team_metrics},
    {"GET", "/teams/{}/metrics/max", kKey, team_metrics_max},
    {"GET", "/api-keys", kKey, list_keys},
    {"POST", "/api-keys", kKey, create_key},
    {"PATCH", "/api-keys/{}", kKey, rename_key},
    {"DELETE", "/api-keys/{}", kKey, delete_key},
    {"POST", "/access-tokens", kKey, no_access_tokens},
    {"DELETE", "/access-tokens/{}", kKey, no_access_tokens},
    {"GET", "/nodes", kKey, list_nodes},
    {"GET", "/nodes/{}", kKey, get_node},
    {"POST", "/nodes/{}", kKey, not_built, "changing a node's status over the API"},
    {"GET", "/volumes", kKey, not_built, "keeping volumes"},
    {"POST", "/volumes", kKey, not_built, "keeping volumes"},
    {"GET", "/volumes/{}", kKey, not_built, "keeping volumes"},
    {"DELETE", "/volumes/{}", kKey, not_built, "keeping volumes"},
    {"GET", "/secrets", kKey, not_built, "keeping secrets"},
    {"POST", "/secrets", kKey, not_built, "keeping secrets"},
    {"GET", "/secrets/{}", kKey, not_built, "keeping secrets"},
    {"POST", "/secrets/{}", kKey, not_built, "keeping secrets"},
    {"DELETE", "/secrets/{}", kKey, not_built, "keeping secrets"},

    {"GET", "/atoll/v1/tiers", kKey, tiers},
    {"GET", "/atoll/v1/status", kKey, status},
    {"GET", "/atoll/v1/sandboxes/{}", kKey, get_receipt},
    {"GET", "/atoll/v1/templates", kKey, own_templates},
};

std::optional<std::vector<std::string>> match(std::string_view pattern, const std::vector<std::string>& segments) {
  std::vector<std::string> params;
  std::size_t at = 0;
  for (pattern.remove_prefix(1); ; ++at) {
    const auto slash = pattern.find('/');
    const std::string_view part = pattern.substr(0, slash);
    if (at == segments.size()) return std::nullopt;
    if (part == "{}" && !segments[at].empty()) params.push_back(segments[at]);
    else if (part != segments[at]) return std::nullopt;
    if (slash == std::string_view::npos) break;
    pattern.remove_prefix(slash + 1);
  }
  if (at + 1 != segments.size()) return std::nullopt;
  return params;
}

Answer no_such_sandbox(std::string_view segment) {
  const auto id = sandbox_id_of(segment);
  return failure(404, id ? "sandbox " + *id + " was not found" : std::string("the sandbox was not found: that is no id"));
}

}  // namespace

std::span<const Route> routes() { return kRoutes; }

Match find_route(std::string_view method, const std::vector<std::string>& segments) {
  Match out;
  for (const Route& route : kRoutes) {
    auto params = match(route.pattern, segments);
    if (!params) continue;
    if (route.method == method) {
      out.route = &route;
      out.params = std::move(*params);
      return out;
    }
    if (!out.allow.empty()) out.allow += ", ";
    out.allow += route.method;
  }
  return out;
}

Task<Result<std::string>> Call::body() {
  auto read = rpc::read_all(exchange.body(), limits::rest_body_bytes_max);
  auto arrived = co_await within(kBodyDeadline, "body", std::move(read));
  // The client's own slowness, not a gateway's: a 504 would be repeated.
  if (!arrived.ok() && arrived.error().code == Errc::deadline)
    co_return make_error(Errc::invalid, "the body did not arrive within 10 s");
  co_return arrived;
}

Found running_sandbox(const Call& call) {
  Found out;
  const auto id = sandbox_id_of(call.params.at(0));
  out.entry = id ? call.core.index.find(call.project.id, *id) : nullptr;
  if (out.entry && out.entry->row.state != store::State::running) out.entry = nullptr;
  if (!out.entry) out.missing = no_such_sandbox(call.params.at(0));
  return out;
}

Found known_sandbox(const Call& call) {
  Found out;
  const auto id = sandbox_id_of(call.params.at(0));
  out.entry = id ? call.core.index.find(call.project.id, *id) : nullptr;
  if (out.entry && out.entry->row.state == store::State::creating) out.entry = nullptr;
  if (!out.entry) out.missing = no_such_sandbox(call.params.at(0));
  return out;
}

}  // namespace atl::control
