#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "store/records.h"

namespace atl::control {

enum class ApiVersion : std::uint8_t { v1, v2 };

// What of `network` can be held to before there is egress: nothing is reachable, so that a denial
// is always kept, and a permission never is.
struct NetworkRequest {
  bool public_traffic = true;
  std::vector<std::string> deny_out;
  std::string mask_request_host;
};

// The body of a create, checked.
struct CreateRequest {
  std::string template_name;  // as asked, lower case
  std::int64_t timeout_s = 0;
  bool secure = true;
  bool internet_asked = true;
  std::string tier;  // "" = the template's
  NetworkRequest network;
  store::Pairs metadata;  // sorted by key
  store::Pairs env;
};

// E2B's NewSandbox (v1: timeout 15 s, `secure` asked for) or NewSandboxV2 (300 s, always secured).
// Errc::invalid: a field does not fit, named by its path, or asks for what would not be enforced.
// Errc::unsupported: the field asks for an ability that is not built yet.
Result<CreateRequest> parse_create(std::string_view body, ApiVersion version);

// The body of PUT /sandboxes/{id}/network: an omitted field is cleared.
Result<NetworkRequest> parse_network_update(std::string_view body);

inline constexpr std::string_view kTierKey = "atoll.tier";

// An object, for an empty body too where the route allows that.
Result<json::value> parse_body(std::string_view body, bool may_be_empty);

// An address or CIDR of either family.
bool is_cidr(std::string_view text);

}  // namespace atl::control
