#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace atl::cli {

// "90", "90s", "5m", "2h", "1d", "1h30m" to seconds; a bare number is seconds. At most
// limits::sandbox_timeout_s_max. Errc::invalid names what was given and what is understood.
Result<std::int64_t> parse_duration(std::string_view text);

// "45s", "12m 5s", "3h 20m", "2d 4h": the two largest units. Negative is "0s".
std::string format_duration(std::int64_t seconds);

// "1.5 MB": decimal units, as disks and networks are sold.
std::string format_bytes(std::uint64_t bytes);

// RFC 3339 with optional fraction and Z or an offset, to Unix seconds.
Result<std::int64_t> parse_rfc3339(std::string_view text);

}  // namespace atl::cli
