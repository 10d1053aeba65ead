#pragma once
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"

namespace atl::cli {

// Lenient reading for showing: what is missing or of another kind is "" or nullptr.
const json::value* member_of(const json::value& object, std::string_view key);
// Strings as they are, numbers and booleans as text.
std::string text_field(const json::value& object, std::string_view key);
// A sandbox's tier, wherever the daemon's answer has it.
std::string tier_of(const json::value& sandbox);

// An object as "a.b.c" and printable text, in order; arrays of plain values on one line. What is
// null or empty is left out. At most 1000 lines.
std::vector<std::pair<std::string, std::string>> flatten(const json::value& value);

}  // namespace atl::cli
