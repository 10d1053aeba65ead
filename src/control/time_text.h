#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace atl::control {

// "2026-01-31T12:00:00.123Z"
std::string rfc3339(std::int64_t unix_ms);

// RFC 3339 with any zone and up to nine digits of fraction, to microseconds (the rest is cut).
// Years 1970 to 9999. nullopt: it is none.
std::optional<std::int64_t> parse_rfc3339_us(std::string_view text);

}  // namespace atl::control
