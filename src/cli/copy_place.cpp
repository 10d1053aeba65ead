#include "cli/copy_place.h"

#include "base/limits.h"

namespace atl::cli {

Result<CopyPlace> CopyPlace::parse(const std::string& text) {
  if (text.empty()) return make_error(Errc::invalid, "an empty path; write PATH, ID:PATH or -");
  CopyPlace place;
  if (text == "-") {
    place.kind = Kind::stream;
    return place;
  }
  const auto colon = text.find(':');
  bool is_id = colon != std::string::npos && colon > 0 && colon <= limits::id_bytes_max;
  for (std::size_t i = 0; is_id && i < colon; ++i)
    is_id = (text[i] >= 'a' && text[i] <= 'z') || (text[i] >= '0' && text[i] <= '9') || (text[i] == '-' && i > 0);
  place.kind = is_id ? Kind::sandbox : Kind::host;
  place.id = is_id ? text.substr(0, colon) : "";
  place.path = is_id ? text.substr(colon + 1) : text;
  return place;
}

std::string base_name(std::string_view path) {
  while (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
  const auto slash = path.rfind('/');
  if (slash != std::string_view::npos) path.remove_prefix(slash + 1);
  if (path == "." || path == "..") return "";
  return std::string(path);
}

std::string join_path(std::string_view folder, std::string_view name) {
  if (folder.empty()) return std::string(name);
  std::string out(folder);
  if (!out.ends_with('/')) out += '/';
  return out.append(name);
}

bool is_safe_name(std::string_view name) {
  return !name.empty() && name.size() <= 255 && name != "." && name != ".." &&
         name.find('/') == std::string_view::npos && name.find('\0') == std::string_view::npos;
}

}  // namespace atl::cli
