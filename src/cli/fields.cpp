#include "cli/fields.h"

#include <fmt/format.h>

#include <algorithm>

#include "cli/text.h"

namespace atl::cli {
namespace {

constexpr std::size_t kLinesMax = 1000;
using Lines = std::vector<std::pair<std::string, std::string>>;

std::string plain_text(const json::value& value) {
  if (value.is_string()) return std::string(value.as_string());
  if (value.is_null()) return "";
  if (value.is_double()) return fmt::format("{}", value.as_double());  // Boost writes 2E0
  return json::serialize(value);
}

bool all_plain(const json::array& array) {
  return std::none_of(array.begin(), array.end(), [](const json::value& v) { return v.is_object() || v.is_array(); });
}

std::string line_of(const json::array& array) {
  std::string text;
  for (const json::value& item : array) text += (text.empty() ? "" : ", ") + printable(plain_text(item));
  return text;
}

// "destination=/proc options=nosuid, noexec" where nothing in it is deeper than that; else nullopt.
std::optional<std::string> line_of(const json::object& object) {
  std::string text;
  for (const auto& [key, value] : object) {
    if (value.is_object() || (value.is_array() && !all_plain(value.as_array()))) return std::nullopt;
    const std::string shown = value.is_array() ? line_of(value.as_array()) : printable(plain_text(value));
    if (!shown.empty()) text += (text.empty() ? "" : "  ") + printable(key) + "=" + shown;
  }
  return text;
}

void flatten_into(Lines& lines, const std::string& path, const json::value& value) {
  if (lines.size() >= kLinesMax) return;
  if (value.is_object()) {
    for (const auto& [key, item] : value.as_object())
      flatten_into(lines, path.empty() ? printable(key) : path + "." + printable(key), item);
    return;
  }
  if (value.is_array() && !all_plain(value.as_array())) {
    std::size_t index = 0;
    for (const json::value& item : value.as_array()) {
      const std::string place = path + "[" + std::to_string(index++) + "]";
      const auto line = item.is_object() ? line_of(item.as_object()) : std::nullopt;
      if (!line) flatten_into(lines, place, item);
      else if (lines.size() < kLinesMax) lines.emplace_back(place, *line);
    }
    return;
  }
  const std::string text = value.is_array() ? line_of(value.as_array()) : printable(plain_text(value));
  if (!text.empty()) lines.emplace_back(path, text);
}

}  // namespace

const json::value* member_of(const json::value& object, std::string_view key) {
  return object.is_object() ? object.as_object().if_contains(key) : nullptr;
}

std::string text_field(const json::value& object, std::string_view key) {
  const json::value* found = member_of(object, key);
  return found ? plain_text(*found) : "";
}

std::string tier_of(const json::value& sandbox) {
  if (std::string tier = text_field(sandbox, "tier"); !tier.empty()) return tier;
  for (const char* holder : {"atoll", "receipt"})
    if (const json::value* inner = member_of(sandbox, holder))
      if (std::string tier = text_field(*inner, "tier"); !tier.empty()) return tier;
  return "";
}

std::vector<std::pair<std::string, std::string>> flatten(const json::value& value) {
  Lines lines;
  flatten_into(lines, "", value);
  return lines;
}

}  // namespace atl::cli
