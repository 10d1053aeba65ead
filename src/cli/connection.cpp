#include "cli/connection.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netdb.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>

#include "base/config.h"
#include "base/fs.h"
#include "base/json.h"
#include "base/paths.h"

namespace atl::cli {
namespace {

constexpr std::size_t kKeyFileBytesMax = 64 * 1024;
constexpr std::size_t kKeyBytesMax = 4096;

std::string_view trimmed(std::string_view text) {
  const auto blank = [](char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; };
  while (!text.empty() && blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && blank(text.back())) text.remove_suffix(1);
  return text;
}

Result<std::string> numeric_address(const std::string& host) {
  unsigned char raw[16];
  if (::inet_pton(AF_INET, host.c_str(), raw) == 1 || ::inet_pton(AF_INET6, host.c_str(), raw) == 1) return host;
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int failure = ::getaddrinfo(host.c_str(), nullptr, &hints, &found);
  if (failure != 0)
    return make_error(Errc::unavailable, fmt::format("look up {}: {}", host, ::gai_strerror(failure)));
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> guard(found, ::freeaddrinfo);
  // IPv4 first: the daemon listens on 127.0.0.1 unless it was told otherwise.
  for (const int family : {AF_INET, AF_INET6})
    for (const addrinfo* at = found; at; at = at->ai_next) {
      char text[NI_MAXHOST];
      if (at->ai_family == family &&
          ::getnameinfo(at->ai_addr, at->ai_addrlen, text, sizeof text, nullptr, 0, NI_NUMERICHOST) == 0)
        return std::string(text);
    }
  return make_error(Errc::unavailable, fmt::format("look up {}: it has no IP address", host));
}

Error bad_endpoint(std::string_view text, std::string_view why) {
  return make_error(Errc::invalid,
                    fmt::format("endpoint \"{}\": {}; write http://HOST:PORT or HOST:PORT", text, why));
}

Result<std::uint16_t> parse_port(std::string_view digits, std::string_view whole) {
  std::uint32_t port = 0;
  if (digits.empty() || digits.size() > 5) return bad_endpoint(whole, "the port is not within 1..65535");
  for (const char c : digits) {
    if (c < '0' || c > '9') return bad_endpoint(whole, "the port is not a number");
    port = port * 10 + (c - '0');
  }
  if (port == 0 || port > 65535) return bad_endpoint(whole, "the port is not within 1..65535");
  return static_cast<std::uint16_t>(port);
}

bool valid_key(std::string_view key) {
  if (key.empty() || key.size() > kKeyBytesMax) return false;
  for (const char c : key)
    if (c <= 0x20 || c >= 0x7f) return false;  // it becomes a header field
  return true;
}

Result<Credentials> read_credentials(const std::string& path) {
  auto content = read_file(path, kKeyFileBytesMax);
  if (content.ok()) return parse_credentials(*content, path);
  if (content.error().code == Errc::denied)
    return make_error(Errc::denied, fmt::format("{}: permission denied (you are uid {}, the file is for root alone); "
                                                "use sudo, or set E2B_API_KEY", path, ::geteuid()));
  if (content.error().code == Errc::not_found)
    return make_error(Errc::unauthenticated,
                      fmt::format("no API key: {} does not exist; make one with: atolld bootstrap (./setup does it), or "
                                  "set E2B_API_KEY, or give --api-key-file", path));
  return content.error();
}

}  // namespace

std::string Endpoint::authority() const {
  return host.find(':') == std::string::npos ? fmt::format("{}:{}", host, port) : fmt::format("[{}]:{}", host, port);
}

Environment process_environment() {
  return [](const char* name) -> std::optional<std::string> {
    const char* value = std::getenv(name);
    if (!value || !*value) return std::nullopt;
    return std::string(value);
  };
}

Result<Endpoint> parse_endpoint(std::string_view text) {
  std::string_view rest = trimmed(text);
  if (rest.starts_with("https://"))
    return bad_endpoint(text, "atoll speaks plain HTTP only (to this machine, or through an SSH tunnel)");
  if (rest.starts_with("http://")) rest.remove_prefix(7);
  else if (rest.find("://") != std::string_view::npos) return bad_endpoint(text, "the scheme is not http");
  while (rest.ends_with('/')) rest.remove_suffix(1);
  if (rest.find_first_of("/?#@ ") != std::string_view::npos) return bad_endpoint(text, "it has more than a host and a port");
  std::string host;
  std::string_view port;
  bool has_port = false;
  if (rest.starts_with('[')) {
    const auto close = rest.find(']');
    if (close == std::string_view::npos) return bad_endpoint(text, "the ] is missing");
    host = rest.substr(1, close - 1);
    rest.remove_prefix(close + 1);
    has_port = rest.starts_with(':');
    if (!rest.empty() && !has_port) return bad_endpoint(text, "a : is expected behind ]");
    port = has_port ? rest.substr(1) : "";
  } else {
    const auto colon = rest.find(':');
    has_port = colon != std::string_view::npos;
    host = rest.substr(0, colon);
    port = has_port ? rest.substr(colon + 1) : "";
  }
  if (host.empty()) return bad_endpoint(text, "the host is missing");
  Endpoint endpoint;
  endpoint.port = Config{}.listen_port;
  if (has_port) {
    TRY(endpoint.port, parse_port(port, text));
  }
  TRY(endpoint.host, numeric_address(host));
  return endpoint;
}

Result<Endpoint> find_endpoint(const GlobalOptions& options, const Environment& environment) {
  if (!options.endpoint.empty()) return parse_endpoint(options.endpoint);
  for (const char* name : {"ATOLL_ENDPOINT", "E2B_API_URL"})
    if (const auto value = environment(name)) {
      auto endpoint = parse_endpoint(*value);
      if (!endpoint.ok()) return with_context(endpoint.error(), "$" + std::string(name));
      return endpoint;
    }
  const std::string path = Paths{options.root, options.run}.endpoint_link();
  auto content = read_file(path, 4096);
  if (content.ok()) return parse_endpoint(*content);
  if (content.error().code == Errc::not_found)
    return make_error(Errc::unavailable, fmt::format("the daemon does not run here: {} does not exist; start it with: "
                                                     "atoll start, or name another with --endpoint", path));
  return content.error();
}

Result<Credentials> parse_credentials(std::string_view content, const std::string& path) {
  const std::string_view text = trimmed(content);
  Credentials credentials;
  credentials.source = path;
  if (text.starts_with('{')) {
    auto parsed = parse_json(text);
    if (!parsed.ok()) return with_context(parsed.error(), path);
    const JsonReader reader(*parsed);
    auto key = reader.string("apiKey", kKeyBytesMax);
    if (!key.ok()) return with_context(key.error(), path);
    auto project = reader.opt_string("project");
    if (!project.ok()) return with_context(project.error(), path);
    credentials.api_key = *key;
    credentials.project = project->value_or("");
  } else {
    credentials.api_key = text;
  }
  if (!valid_key(credentials.api_key))
    return make_error(Errc::unauthenticated, path + ": there is no API key in it (one word, or JSON with apiKey)");
  return credentials;
}

Result<Credentials> find_credentials(const GlobalOptions& options, const Environment& environment) {
  if (!options.api_key_file.empty()) return read_credentials(options.api_key_file);
  if (const auto key = environment("E2B_API_KEY")) {
    if (!valid_key(*key))
      return make_error(Errc::unauthenticated, "$E2B_API_KEY holds no key: blanks or control characters are in it");
    return Credentials{*key, "", "$E2B_API_KEY"};
  }
  return read_credentials(Paths{options.root, options.run}.credentials_file());
}

}  // namespace atl::cli
