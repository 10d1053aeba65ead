#pragma once
#include <boost/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace atl {

namespace json = boost::json;

// Text to value: depth 32, valid UTF-8, no trailing bytes. Errc::invalid says where it broke.
Result<json::value> parse_json(std::string_view text);

// Reads the fields of one object and keeps the path, so that an error says "network.allowOut[2]:
// expected a string". Absent and null are nullopt for optional reads. The value must outlive it.
class JsonReader {
 public:
  JsonReader(const json::value& value, std::string path = "") : value_(&value), path_(std::move(path)) {}

  Result<std::string> string(std::string_view key, std::size_t bytes_max = 64 * 1024) const;
  Result<std::optional<std::string>> opt_string(std::string_view key, std::size_t bytes_max = 64 * 1024) const;
  Result<std::optional<std::int64_t>> opt_int(std::string_view key, std::int64_t least, std::int64_t most) const;
  Result<std::optional<bool>> opt_bool(std::string_view key) const;
  Result<std::vector<std::string>> strings(std::string_view key, std::size_t count_max) const;  // absent = empty
  Result<std::vector<std::pair<std::string, std::string>>> string_map(std::string_view key, std::size_t count_max,
                                                                       std::size_t bytes_max) const;
  // The member itself, or nullptr where absent or null. Errc::invalid when this is no object.
  Result<const json::value*> member(std::string_view key) const;
  Result<std::optional<JsonReader>> object(std::string_view key) const;
  Status require_object() const;
  std::string where(std::string_view key) const;

 private:
  const json::value* value_;
  std::string path_;
};

}  // namespace atl
