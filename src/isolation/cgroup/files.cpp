#include "isolation/cgroup/files.h"

#include <charconv>

#include "base/fs.h"

namespace atl::isolation::cgroup {
namespace {

Result<std::int64_t> number_of(std::string_view text, const std::string& path) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.remove_suffix(1);
  if (text == "max") return std::int64_t{-1};
  // v1 writes "no limit" as a number near 2^63, which fits.
  std::int64_t value = 0;
  const auto [end, err] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (err != std::errc() || end != text.data() + text.size())
    return make_error(Errc::internal, path + ": expected one number");
  return value;
}

}  // namespace

Result<std::int64_t> read_number(const std::string& path) {
  TRY(const std::string text, read_file(path, kFileBytesMax));
  return number_of(text, path);
}

Result<std::int64_t> read_field(const std::string& path, std::string_view name) {
  TRY(const std::string text, read_file(path, kFileBytesMax));
  const std::string_view all(text);
  for (std::size_t at = 0; at < all.size();) {
    const auto end = std::min(all.find('\n', at), all.size());
    const auto line = all.substr(at, end - at);
    if (line.size() > name.size() && line.substr(0, name.size()) == name && line[name.size()] == ' ')
      return number_of(line.substr(name.size() + 1), path);
    at = end + 1;
  }
  return make_error(Errc::not_found, path + ": no line " + std::string(name));
}

Status write_number(const std::string& path, std::int64_t value) { return write_file(path, std::to_string(value)); }

}  // namespace atl::isolation::cgroup
