#include "agent/files/guest_path.h"

#include "fmt/format.h"

namespace atl::agent {
namespace {

template <class Each>
void for_parts(std::string_view path, Each each) {
  while (!path.empty()) {
    const std::size_t cut = std::min(path.find('/'), path.size());
    if (cut > 0) each(path.substr(0, cut));
    path.remove_prefix(std::min(cut + 1, path.size()));
  }
}

std::string without_extra_slashes(std::string_view path) {
  std::string out;
  for_parts(path, [&](std::string_view part) { out.append("/").append(part); });
  return out.empty() ? "/" : out;
}

// Length of the valid UTF-8 sequence at the front (RFC 3629); 0 = none.
std::size_t sequence_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  const auto tail = [&](std::size_t i) { return (byte(i) & 0xC0) == 0x80; };
  const unsigned first = byte(0);
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first <= 0xDF) return tail(1) ? 2 : 0;
  if (first >= 0xE0 && first <= 0xEF) {
    const bool overlong = first == 0xE0 && byte(1) < 0xA0, surrogate = first == 0xED && byte(1) > 0x9F;
    return tail(1) && tail(2) && !overlong && !surrogate ? 3 : 0;
  }
  if (first >= 0xF0 && first <= 0xF4) {
    const bool overlong = first == 0xF0 && byte(1) < 0x90, beyond = first == 0xF4 && byte(1) > 0x8F;
    return tail(1) && tail(2) && tail(3) && !overlong && !beyond ? 4 : 0;
  }
  return 0;
}

}  // namespace

std::string clean_path(std::string_view absolute) {
  std::vector<std::string_view> parts;
  for_parts(absolute, [&](std::string_view part) {
    if (part == ".") return;
    if (part != "..") {
      parts.push_back(part);
    } else if (!parts.empty()) {
      parts.pop_back();
    }
  });
  std::string out;
  for (auto part : parts) out.append("/").append(part);
  return out.empty() ? "/" : out;
}

std::string join_path(std::string_view folder, std::string_view name) {
  std::string out(folder);
  if (out.empty() || out.back() != '/') out += '/';
  return out.append(name);
}

Result<std::string> expand_path(std::string_view path, const UserInfo& user,
                                std::string_view default_workdir) {
  if (path.find('\0') != std::string_view::npos)
    return make_error(Errc::invalid, "a path cannot hold a NUL byte");
  if (path.empty()) path = default_workdir.empty() ? std::string_view(user.home) : default_workdir;
  if (path.front() == '~') {
    if (path.size() > 1 && path[1] != '/')
      return make_error(Errc::invalid,
                        fmt::format("'{}': only '~' and '~/...' stand for a home; another user's home "
                                    "is named in full",
                                    utf8_text(path)));
    path.remove_prefix(std::min<std::size_t>(2, path.size()));
    return clean_path(join_path(user.home, path));
  }
  if (path.front() == '/') return without_extra_slashes(path);
  return clean_path(join_path(user.home, path));
}

std::string base_name(std::string_view path) {
  while (path.size() > 1 && path.back() == '/') path.remove_suffix(1);
  const std::size_t cut = path.rfind('/');
  if (path == "/" || cut == std::string_view::npos) return std::string(path);
  return std::string(path.substr(cut + 1));
}

std::string parent_name(std::string_view path) {
  while (path.size() > 1 && path.back() == '/') path.remove_suffix(1);
  const std::size_t cut = path.rfind('/');
  return cut == 0 || cut == std::string_view::npos ? "/" : std::string(path.substr(0, cut));
}

std::string utf8_text(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  while (!bytes.empty()) {
    const std::size_t length = sequence_length(bytes);
    if (length == 0) {
      out.append("\xEF\xBF\xBD");
    } else {
      out.append(bytes.substr(0, length));
    }
    bytes.remove_prefix(std::max<std::size_t>(length, 1));
  }
  return out;
}

}  // namespace atl::agent
