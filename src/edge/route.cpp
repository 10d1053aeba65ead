#include "edge/route.h"

#include <arpa/inet.h>

#include <charconv>

namespace atl::edge {
namespace {

constexpr std::string_view kIdHeader = "e2b-sandbox-id";
constexpr std::string_view kPortHeader = "e2b-sandbox-port";

Route refused(int status, std::string message, std::string id = "") {
  return {Route::Kind::refused, std::move(id), 0, status, std::move(message)};
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return out;
}

bool is_digits(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == text.npos;
}

// The host of "host", "host:port", "[v6]" and "[v6]:port"; nullopt for anything else.
std::optional<std::string> host_of(std::string_view authority) {
  if (authority.size() > 300) return std::nullopt;
  if (authority.starts_with('[')) {
    const auto end = authority.find(']');
    if (end == authority.npos) return std::nullopt;
    const auto rest = authority.substr(end + 1);
    if (!rest.empty() && (rest.front() != ':' || !parse_port(rest.substr(1)))) return std::nullopt;
    return lower(authority.substr(0, end + 1));
  }
  const auto colon = authority.find(':');
  if (colon != authority.npos && !parse_port(authority.substr(colon + 1))) return std::nullopt;
  const auto host = authority.substr(0, colon);
  if (host.find_first_of("/@%?# \t") != host.npos) return std::nullopt;
  return lower(host);
}

bool is_address(const std::string& host) {
  in_addr v4;
  in6_addr v6;
  if (host.starts_with('[')) return ::inet_pton(AF_INET6, host.substr(1, host.size() - 2).c_str(), &v6) == 1;
  return ::inet_pton(AF_INET, host.c_str(), &v4) == 1;
}

bool headers_count(const std::string& host) {
  return is_address(host) || host == "localhost" || host == "localhost." || host.starts_with("sandbox.");
}

// What a sandbox and port lead to.
Route to_sandbox(std::string id, std::uint16_t port, std::string_view target) {
  if (port != kAgentPort) return {Route::Kind::port, std::move(id), port, 0, ""};
  if (!is_agent_path(path_of(target)))
    return refused(404, "the sandbox has no such path on port 49983", std::move(id));
  return {Route::Kind::agent, std::move(id), port, 0, ""};
}

// {port}-{id}[-{client}] in the first label of a name of several labels.
std::optional<Route> by_host(const std::string& host, std::string_view target) {
  const auto dot = host.find('.');
  if (dot == host.npos) return std::nullopt;
  const std::string_view label = std::string_view(host).substr(0, dot);
  const auto dash = label.find('-');
  if (dash == label.npos || !is_digits(label.substr(0, dash))) return std::nullopt;
  const auto port = parse_port(label.substr(0, dash));
  auto id = parse_sandbox_id(label.substr(dash + 1));
  if (!port || !id)
    return refused(
        400, "the host's first label must be {port}-{sandbox id}, port 1 to 65535 without leading zeros");
  return to_sandbox(std::move(*id), *port, target);
}

Route by_headers(const rpc::RequestHead& request) {
  const auto& headers = request.headers;
  if (headers.count(kIdHeader) > 1 || headers.count(kPortHeader) > 1)
    return refused(400, "E2b-Sandbox-Id and E2b-Sandbox-Port may each come once");
  auto id = parse_sandbox_id(*headers.get(kIdHeader));
  if (!id) return refused(400, "E2b-Sandbox-Id must be 1 to 64 of [a-z0-9]");
  std::uint16_t port = kAgentPort;
  if (const auto text = headers.get(kPortHeader)) {
    const auto parsed = parse_port(*text);
    if (!parsed) return refused(400, "E2b-Sandbox-Port must be 1 to 65535 in plain digits", std::move(*id));
    port = *parsed;
  }
  return to_sandbox(std::move(*id), port, request.target);
}

bool has_param(std::string_view target, std::string_view name) {
  const auto question = target.find('?');
  if (question == target.npos) return false;
  std::string_view query = target.substr(question + 1);
  while (!query.empty()) {
    const auto amp = query.find('&');
    const auto pair = query.substr(0, amp);
    if (pair.substr(0, pair.find('=')) == name) return true;
    query = amp == query.npos ? std::string_view() : query.substr(amp + 1);
  }
  return false;
}

// No sandbox is named: the agent's paths must tell by their credential; the rest is REST.
Route unnamed(const rpc::RequestHead& request) {
  const auto path = path_of(request.target);
  if (path == "/files" && has_param(request.target, "signature"))
    return {Route::Kind::by_signature, "", kAgentPort, 0, ""};
  // A sandbox connected to by Python clients before 2.20 is named in none of their requests.
  if (is_agent_path(path) && request.headers.get("x-access-token"))
    return {Route::Kind::by_token, "", kAgentPort, 0, ""};
  const bool agents = path == "/files" || path == "/files/compose" || path == "/metrics" || path == "/envs" ||
                      path.starts_with("/process.") || path.starts_with("/filesystem.");
  if (agents)
    return refused(400,
                   "the request names no sandbox: send E2b-Sandbox-Id, or use the host {port}-{id}.<domain>");
  return {};
}

// Within a domain each name has one meaning.
Route within_domain(const rpc::RequestHead& request, std::string_view host, const std::string& domain) {
  if (host.ends_with('.')) host.remove_suffix(1);
  const bool inside = host.size() > domain.size() + 1 && host.ends_with(domain) &&
                      host[host.size() - domain.size() - 1] == '.';
  const auto label = inside ? host.substr(0, host.size() - domain.size() - 1) : std::string_view();
  if (label == "api") return {};
  if (label == "sandbox") {
    if (request.headers.get(kIdHeader)) return by_headers(request);
    Route where = unnamed(request);
    if (where.kind == Route::Kind::rest)
      return refused(400, "the host sandbox." + domain + " needs the header E2b-Sandbox-Id; REST is at api." + domain);
    return where;
  }
  if (!label.empty() && label.find('.') == label.npos)
    if (auto named = by_host(std::string(host), request.target)) return *named;
  return refused(421, "served here are api." + domain + ", sandbox." + domain + " and {port}-{sandbox id}." + domain);
}

}  // namespace

std::string_view path_of(std::string_view target) {
  return target.substr(0, target.find_first_of("?#"));
}

std::optional<std::uint16_t> parse_port(std::string_view text) {
  if (!is_digits(text) || text.front() == '0' || text.size() > 5) return std::nullopt;
  unsigned value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  if (value == 0 || value > 65535) return std::nullopt;
  return static_cast<std::uint16_t>(value);
}

std::optional<std::string> parse_sandbox_id(std::string_view text) {
  const auto id = text.substr(0, text.find('-'));
  constexpr std::string_view kAllowed = "abcdefghijklmnopqrstuvwxyz0123456789";
  const bool good = !id.empty() && id.size() <= 64 && id.find_first_not_of(kAllowed) == id.npos;
  // What follows is a client id of older clients: of no use, but no place for other bytes either.
  const auto rest = text.substr(id.size());
  if (!good || rest.size() > 64 ||
      rest.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-") != rest.npos)
    return std::nullopt;
  return std::string(id);
}

bool is_agent_path(std::string_view path) {
  constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
  for (const std::string_view service : {"/process.Process/", "/filesystem.Filesystem/"}) {
    if (!path.starts_with(service)) continue;
    const auto rpc = path.substr(service.size());
    return !rpc.empty() && rpc.size() <= 64 && rpc.find_first_not_of(kLetters) == rpc.npos;
  }
  return path == "/files" || path == "/files/compose" || path == "/health" || path == "/metrics" ||
         path == "/envs";
}

Route route(const rpc::RequestHead& request, const std::string& domain) {
  if (request.method == "CONNECT") return refused(405, "this is no forward proxy: CONNECT is not served");
  if (!request.target.starts_with('/') && request.target != "*")
    return refused(400, "the request's target must be a path");
  const auto host = host_of(request.authority);
  if (!host) return refused(400, "malformed Host");
  if (!domain.empty()) return within_domain(request, *host, domain);
  if (auto named = by_host(*host, request.target)) return *named;
  if (request.headers.get(kIdHeader)) {
    if (!headers_count(*host))
      return refused(
          400,
          "E2b-Sandbox-Id counts only where Host is an IP address, localhost or sandbox.<domain>; use one "
          "of these, or the host {port}-{id}.<domain>");
    Route where = by_headers(request);
    // Python clients before 2.30 name the sandbox and the agent's port on REST calls too. The agent
    // serves no such path, and an API key is nothing that a sandbox gets.
    const bool no_agents_path = where.kind == Route::Kind::refused && where.status == 404;
    if (no_agents_path && request.headers.get("x-api-key")) return {};
    return where;
  }
  return unnamed(request);
}

}  // namespace atl::edge
