#include "base/json.h"

namespace atl {
namespace {

Error wrong(const std::string& where, std::string_view expected) {
  return make_error(Errc::invalid, where + ": expected " + std::string(expected));
}

}  // namespace

Result<json::value> parse_json(std::string_view text) {
  json::parse_options options;
  options.max_depth = 32;
  json::stream_parser parser({}, options);
  json::error_code error;
  const std::size_t used = parser.write_some(text.data(), text.size(), error);
  if (!error && used == text.size()) parser.finish(error);
  else if (!error) error = json::make_error_code(json::error::extra_data);
  if (error)
    return make_error(Errc::invalid, "invalid JSON at byte " + std::to_string(used) + ": " + error.message());
  return parser.release();
}

std::string JsonReader::where(std::string_view key) const {
  return path_.empty() ? std::string(key) : path_ + "." + std::string(key);
}

Status JsonReader::require_object() const {
  if (!value_->is_object()) return wrong(path_.empty() ? "body" : path_, "an object");
  return ok();
}

Result<const json::value*> JsonReader::member(std::string_view key) const {
  CHECK_OK(require_object());
  const json::value* found = value_->as_object().if_contains(key);
  if (found && found->is_null()) found = nullptr;
  return found;
}

Result<std::optional<std::string>> JsonReader::opt_string(std::string_view key, std::size_t bytes_max) const {
  TRY(const json::value* found, member(key));
  if (!found) return std::optional<std::string>();
  if (!found->is_string()) return wrong(where(key), "a string");
  if (found->as_string().size() > bytes_max)
    return make_error(Errc::invalid, where(key) + ": longer than " + std::to_string(bytes_max) + " bytes");
  return std::optional<std::string>(std::string(found->as_string()));
}

Result<std::string> JsonReader::string(std::string_view key, std::size_t bytes_max) const {
  TRY(auto found, opt_string(key, bytes_max));
  if (!found) return make_error(Errc::invalid, where(key) + ": missing, a string is required");
  return std::move(*found);
}

Result<std::optional<std::int64_t>> JsonReader::opt_int(std::string_view key, std::int64_t least,
                                                        std::int64_t most) const {
  TRY(const json::value* found, member(key));
  if (!found) return std::optional<std::int64_t>();
  json::error_code error;
  const auto number = found->is_number() ? found->to_number<std::int64_t>(error) : 0;
  if (!found->is_number() || error) return wrong(where(key), "a whole number");
  if (number < least || number > most)
    return make_error(Errc::invalid, where(key) + ": " + std::to_string(number) + " is not within " +
                                         std::to_string(least) + ".." + std::to_string(most));
  return std::optional<std::int64_t>(number);
}

Result<std::optional<bool>> JsonReader::opt_bool(std::string_view key) const {
  TRY(const json::value* found, member(key));
  if (!found) return std::optional<bool>();
  if (!found->is_bool()) return wrong(where(key), "true or false");
  return std::optional<bool>(found->as_bool());
}

Result<std::vector<std::string>> JsonReader::strings(std::string_view key, std::size_t count_max) const {
  TRY(const json::value* found, member(key));
  std::vector<std::string> out;
  if (!found) return out;
  if (!found->is_array()) return wrong(where(key), "an array of strings");
  if (found->as_array().size() > count_max)
    return make_error(Errc::invalid, where(key) + ": more than " + std::to_string(count_max) + " entries");
  for (const json::value& item : found->as_array()) {
    if (!item.is_string()) return wrong(where(key) + "[" + std::to_string(out.size()) + "]", "a string");
    out.emplace_back(item.as_string());
  }
  return out;
}

Result<std::vector<std::pair<std::string, std::string>>> JsonReader::string_map(std::string_view key,
                                                                                 std::size_t count_max,
                                                                                 std::size_t bytes_max) const {
  TRY(const json::value* found, member(key));
  std::vector<std::pair<std::string, std::string>> out;
  if (!found) return out;
  if (!found->is_object()) return wrong(where(key), "an object of strings");
  if (found->as_object().size() > count_max)
    return make_error(Errc::invalid, where(key) + ": more than " + std::to_string(count_max) + " entries");
  std::size_t bytes = 0;
  for (const auto& [name, item] : found->as_object()) {
    if (!item.is_string()) return wrong(where(key) + "." + std::string(name), "a string");
    bytes += name.size() + item.as_string().size();
    out.emplace_back(std::string(name), std::string(item.as_string()));
  }
  if (bytes > bytes_max)
    return make_error(Errc::invalid, where(key) + ": more than " + std::to_string(bytes_max) + " bytes in all");
  return out;
}

Result<std::optional<JsonReader>> JsonReader::object(std::string_view key) const {
  TRY(const json::value* found, member(key));
  if (!found) return std::optional<JsonReader>();
  if (!found->is_object()) return wrong(where(key), "an object");
  return std::optional<JsonReader>(JsonReader(*found, where(key)));
}

}  // namespace atl
