#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace atl::rpc {

// RFC 3986 escapes. A bad escape or a NUL is nullopt. `plus_is_space` for queries and forms.
std::optional<std::string> percent_decode(std::string_view text, bool plus_is_space);
std::string percent_encode(std::string_view text);  // everything but unreserved characters

// A target cut into its raw path segments and decoded query pairs (at most 256 of each).
struct Target {
  std::string_view raw_path;
  std::vector<std::string> segments;  // decoded one by one: "%2F" stays inside its segment
  std::vector<std::pair<std::string, std::string>> query;
  std::string_view raw_query;
  std::optional<std::string_view> param(std::string_view name) const;  // first of that name
};
Result<Target> parse_target(std::string_view target);  // views point into `target`

}  // namespace atl::rpc
