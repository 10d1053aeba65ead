#pragma once
#include <optional>
#include <string>
#include <string_view>

namespace atl::control {

inline constexpr std::string_view kClientId = "6532622b";   // a constant of E2B's
inline constexpr std::string_view kEnvdVersion = "0.6.13";  // what the agent does; SDKs switch on it

bool valid_id(std::string_view id);  // [a-z0-9]{1,64}

// The id of a path segment: the composite "<id>-<clientID>" of older SDKs is cut. nullopt: no id.
std::optional<std::string> sandbox_id_of(std::string_view segment);

std::string new_sandbox_id();  // "i" + 20 of [a-z0-9]
std::string new_uuid();        // version 4

// Tokens that need not be kept: HMAC-SHA256 with the host's seed, hex.
std::string access_token_of(std::string_view seed, std::string_view sandbox_id);
std::string traffic_token_of(std::string_view seed, std::string_view sandbox_id);

}  // namespace atl::control
