#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "rpc/message.h"

namespace atl::edge {

inline constexpr std::uint16_t kAgentPort = 49983;

// Where one request goes, by its head alone. No table of sandboxes is asked, so the whole is a
// pure function.
struct Route {
  enum class Kind : std::uint8_t {
    rest,          // to the api
    agent,         // sandbox `id`, a path of the agent's protocol
    port,          // sandbox `id`, a user's server on `port`
    by_signature,  // the agent's /files; the sandbox is the one whose token made the signature
    by_token,      // a path of the agent's; the sandbox is the one that has this access token
    refused,       // answer `status` and `message`
  };
  Kind kind = Kind::rest;
  std::string id;
  std::uint16_t port = 0;
  int status = 0;
  std::string message;
};

// Which listener a request came by.
struct Door {
  std::string domain;   // names served here; "" = any name
  bool secure = false;  // TLS
};

// Rules: E2b-Sandbox-Id and E2b-Sandbox-Port count only where Host is an address, localhost or
// sandbox.<domain>. A host {port}-{id}[-{client}].<domain> names the sandbox itself, and headers
// are not looked at: a page served by one sandbox must not reach another by naming it. With a domain,
// api.<domain> is REST, and names outside of it are 421.
Route route(const rpc::RequestHead& request, const std::string& domain = "");

// 1 to 65535 in plain digits: "02280", "+2280", "2280 " are nullopt.
std::optional<std::uint16_t> parse_port(std::string_view text);
// The id of "id" or the older "id-clientid"; nullopt when it is no [a-z0-9]{1,64}.
std::optional<std::string> parse_sandbox_id(std::string_view text);
// The agent's protocol as far as clients may use it; the path is compared raw, as it was sent.
bool is_agent_path(std::string_view raw_path);
std::string_view path_of(std::string_view target);

}  // namespace atl::edge
