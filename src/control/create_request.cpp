#include "control/create_request.h"

#include <arpa/inet.h>

#include <algorithm>

#include "base/limits.h"

namespace atl::control {
namespace {

constexpr std::size_t kTemplateBytesMax = 256;
constexpr std::size_t kRulesMax = 1000;
constexpr std::size_t kHostBytesMax = 255;
constexpr std::int64_t kIntMax = 1'000'000'000'000;  // far above any limit, so that its own message applies

Error refuse(const std::string& where, std::string_view why) {
  return make_error(Errc::invalid, where + ": " + std::string(why));
}

// Absent, null, {} and [] ask for nothing.
Result<bool> asks(const JsonReader& reader, std::string_view key) {
  TRY(const json::value* found, reader.member(key));
  if (!found) return false;
  if (found->is_object()) return !found->as_object().empty();
  if (found->is_array()) return !found->as_array().empty();
  return true;
}

Status refuse_if_asked(const JsonReader& reader, std::string_view key, std::string_view why) {
  TRY(const bool asked, asks(reader, key));
  if (asked) return refuse(reader.where(key), why);
  return ok();
}

constexpr std::string_view kNoEgress =
    "egress is not available yet: a sandbox reaches nothing outside, so that this could not be honoured; leave it out";

Status check_mask(const std::string& where, const std::string& host) {
  const auto usable = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view(".-_:[]${}").find(c) != std::string_view::npos;
  };
  if (!std::all_of(host.begin(), host.end(), usable))
    return refuse(where, "expected a host name with an optional port, such as localhost:${PORT}");
  return ok();
}

Status refuse_egress(const JsonReader& network) {
  for (const char* key : {"allowOut", "egressProxy", "rules", "dnsServers"})
    CHECK_OK(refuse_if_asked(network, key, kNoEgress));
  return refuse_if_asked(network, "httpsPorts", "ports that speak TLS inside are not available yet; leave it out");
}

Result<std::vector<std::string>> read_deny(const JsonReader& reader) {
  TRY(auto list, reader.strings("denyOut", kRulesMax));
  for (std::size_t i = 0; i < list.size(); ++i)
    if (!is_cidr(list[i]))
      return refuse(reader.where("denyOut") + "[" + std::to_string(i) + "]", "expected an IP address or a CIDR");
  return list;
}

Result<NetworkRequest> read_network(const JsonReader& body) {
  NetworkRequest out;
  TRY(const auto network, body.object("network"));
  if (!network) return out;
  CHECK_OK(refuse_egress(*network));
  TRY(const auto is_public, network->opt_bool("allowPublicTraffic"));
  out.public_traffic = is_public.value_or(true);
  TRY(out.deny_out, read_deny(*network));
  TRY(auto mask, network->opt_string("maskRequestHost", kHostBytesMax));
  out.mask_request_host = mask.value_or("");
  CHECK_OK(check_mask(network->where("maskRequestHost"), out.mask_request_host));
  return out;
}

// What pauses a sandbox, or would bring it back.
Status check_pause_fields(const JsonReader& body) {
  TRY(const auto auto_pause, body.opt_bool("autoPause"));
  if (auto_pause.value_or(false))
    return make_error(Errc::unsupported, "autoPause: pausing sandboxes is not available yet; leave it out, and the "
                                         "sandbox is killed at its timeout");
  TRY(const auto memory, body.opt_bool("autoPauseMemory"));
  if (memory && !*memory) return refuse("autoPauseMemory", "false requires autoPause");
  TRY(const auto resume, body.object("autoResume"));
  if (!resume) return ok();
  TRY(const auto enabled, resume->opt_bool("enabled"));
  if (enabled.value_or(false))
    return make_error(Errc::unsupported, "autoResume: resuming sandboxes is not available yet; leave it out");
  return ok();
}

Status check_abilities(const JsonReader& body) {
  CHECK_OK(check_pause_fields(body));
  CHECK_OK(refuse_if_asked(body, "mcp", "MCP servers are not available yet; leave it out"));
  CHECK_OK(refuse_if_asked(body, "iam", "identity tokens are not available yet; leave it out"));
  return refuse_if_asked(body, "volumeMounts", "volumes are not available yet; leave it out");
}

Result<std::int64_t> read_timeout(const JsonReader& body, std::int64_t otherwise) {
  TRY(const auto asked, body.opt_int("timeout", -kIntMax, kIntMax));
  const std::int64_t seconds = asked.value_or(otherwise);
  if (seconds <= 0) return refuse("timeout", std::to_string(seconds) + " s asked, it must be positive");
  if (seconds > limits::sandbox_timeout_s_max)
    return refuse("timeout", std::to_string(seconds) + " s asked, at most " +
                                 std::to_string(limits::sandbox_timeout_s_max) + " s are possible");
  return seconds;
}

bool has_nul(std::string_view text) { return text.find('\0') != std::string_view::npos; }

Result<store::Pairs> read_metadata(const JsonReader& body, std::string& tier) {
  TRY(auto metadata, body.string_map("metadata", limits::metadata_entries_max, limits::metadata_bytes_max));
  for (const auto& [key, value] : metadata) {
    if (key == kTierKey) {
      if (value != "auto" && value != "container" && value != "gvisor" && value != "microvm")
        return refuse("metadata.atoll.tier", "expected auto, container, gvisor or microvm");
      tier = value;
    } else if (key.starts_with("atoll.")) {
      return refuse("metadata", "keys that begin with \"atoll.\" are reserved, and of them only atoll.tier is known");
    }
  }
  std::sort(metadata.begin(), metadata.end());
  return metadata;
}

Result<store::Pairs> read_env(const JsonReader& body) {
  TRY(auto env, body.string_map("envVars", limits::env_entries_max, limits::env_bytes_max));
  for (const auto& [key, value] : env)
    if (key.empty() || key.find('=') != std::string::npos || has_nul(key) || has_nul(value))
      return refuse("envVars", "a name must not be empty or contain '=', and neither name nor value a NUL byte");
  return env;
}

std::string lower(std::string text) {
  for (char& c : text)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return text;
}

}  // namespace

bool is_cidr(std::string_view text) {
  const auto slash = text.find('/');
  const std::string address(text.substr(0, slash));
  unsigned char bytes[16];
  const bool v4 = ::inet_pton(AF_INET, address.c_str(), bytes) == 1;
  if (address.size() > 45 || has_nul(text) || (!v4 && ::inet_pton(AF_INET6, address.c_str(), bytes) != 1)) return false;
  if (slash == std::string_view::npos) return true;
  const std::string_view bits = text.substr(slash + 1);
  if (bits.empty() || bits.size() > 3 || bits.find_first_not_of("0123456789") != bits.npos) return false;
  if (bits.size() > 1 && bits.front() == '0') return false;
  int count = 0;
  for (const char c : bits) count = count * 10 + (c - '0');
  return count <= (v4 ? 32 : 128);
}

Result<json::value> parse_body(std::string_view body, bool may_be_empty) {
  if (body.empty() && may_be_empty) return json::value(json::object());
  if (body.empty()) return make_error(Errc::invalid, "the body is empty, a JSON object is required");
  TRY(auto value, parse_json(body));
  if (value.is_null() && may_be_empty) return json::value(json::object());
  CHECK_OK(JsonReader(value).require_object());
  return value;
}

Result<CreateRequest> parse_create(std::string_view text, ApiVersion version) {
  TRY(const json::value value, parse_body(text, false));
  const JsonReader body(value);
  CreateRequest out;
  TRY(auto name, body.string("templateID", kTemplateBytesMax));
  if (name.empty()) return refuse("templateID", "empty, the id or name of a template is required");
  out.template_name = lower(std::move(name));
  TRY(out.timeout_s, read_timeout(body, version == ApiVersion::v1 ? 15 : 300));
  CHECK_OK(check_abilities(body));
  TRY(const auto internet, body.opt_bool("allow_internet_access"));
  out.internet_asked = internet.value_or(true);
  TRY(out.network, read_network(body));
  TRY(const auto secure, body.opt_bool("secure"));
  out.secure = version == ApiVersion::v2 || secure.value_or(false);
  if (!out.secure && !out.network.public_traffic)
    return refuse("network.allowPublicTraffic", "false requires a secured sandbox: send \"secure\": true");
  TRY(out.metadata, read_metadata(body, out.tier));
  TRY(out.env, read_env(body));
  return out;
}

Result<NetworkRequest> parse_network_update(std::string_view text) {
  TRY(const json::value value, parse_body(text, false));
  const JsonReader body(value);
  CHECK_OK(refuse_egress(body));
  // Either value is kept: nothing is reachable.
  if (const auto internet = body.opt_bool("allow_internet_access"); !internet.ok()) return internet.error();
  NetworkRequest out;
  TRY(out.deny_out, read_deny(body));
  return out;
}

}  // namespace atl::control
