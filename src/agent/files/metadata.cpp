#include "agent/files/metadata.h"

#include <sys/xattr.h>

#include <algorithm>

#include "fmt/format.h"

namespace atl::agent {
namespace {

constexpr std::string_view kHeader = "x-metadata-";
constexpr std::string_view kAttribute = "user.e2b.";
constexpr std::size_t kNamesBytesMax = 64 * 1024;  // XATTR_LIST_MAX

bool printable(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= 0x20 && c < 0x7f; });
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return out;
}

bool keeps_none(int err) {
  return err == ENOTSUP || err == ENOSYS || err == EPERM;
}

// Names of our attributes on this file, whole.
Result<std::vector<std::string>> attribute_names(int fd) {
  std::string buffer(kNamesBytesMax, '\0');
  const ssize_t length = ::flistxattr(fd, buffer.data(), buffer.size());
  if (length < 0) return os_error("flistxattr", "");
  std::vector<std::string> names;
  std::string_view left(buffer.data(), static_cast<std::size_t>(length));
  while (!left.empty()) {
    const std::string_view attribute = left.substr(0, left.find('\0'));
    if (attribute.starts_with(kAttribute)) names.emplace_back(attribute);
    left.remove_prefix(std::min(attribute.size() + 1, left.size()));
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace

Result<Metadata> metadata_of(const rpc::Headers& headers) {
  Metadata metadata;
  std::size_t total = 0;
  for (const auto& [name, value] : headers.all()) {
    const std::string key = lower(name);
    if (!key.starts_with(kHeader)) continue;
    const std::string_view rest = std::string_view(key).substr(kHeader.size());
    if (rest.empty() || !printable(rest) || !printable(value))
      return make_error(Errc::invalid,
                        "a metadata header's key and value must be printable ASCII, the key not empty");
    if (rest.size() > kMetadataKeyBytesMax)
      return make_error(Errc::invalid, fmt::format("a metadata key has {} bytes; the limit is {}",
                                                   rest.size(), kMetadataKeyBytesMax));
    const auto same =
        std::find_if(metadata.begin(), metadata.end(), [&](const auto& m) { return m.first == rest; });
    if (same != metadata.end()) continue;  // the first of one name counts, as everywhere
    total += rest.size() + value.size();
    metadata.emplace_back(rest, value);
  }
  if (total > kMetadataBytesMax)
    return make_error(Errc::invalid,
                      fmt::format("the metadata has {} bytes; the limit is {}", total, kMetadataBytesMax));
  std::sort(metadata.begin(), metadata.end());
  return metadata;
}

Status write_metadata(int fd, const Metadata& metadata) {
  auto present = attribute_names(fd);
  if (!present.ok()) {
    if (!keeps_none(present.error().os_error)) return std::move(present).error();
    if (metadata.empty()) return ok();
    return make_error(Errc::unsupported,
                      "this file system keeps no extended attributes, so no metadata; upload "
                      "without metadata or to another folder");
  }
  for (const auto& name : *present)
    if (::fremovexattr(fd, name.c_str()) != 0 && errno != ENODATA) return os_error("fremovexattr", name);
  for (const auto& [key, value] : metadata) {
    const std::string name = std::string(kAttribute) + key;
    if (::fsetxattr(fd, name.c_str(), value.data(), value.size(), 0) == 0) continue;
    if (errno == ENOTSUP || errno == ENOSYS)
      return make_error(Errc::unsupported,
                        "this file system keeps no extended attributes, so no metadata; upload "
                        "without metadata or to another folder");
    return os_error("fsetxattr", name);
  }
  return ok();
}

Metadata read_metadata(int fd) {
  Metadata metadata;
  // Most files have no attribute at all: asking for the length alone is the quick way to know.
  if (::flistxattr(fd, nullptr, 0) <= 0) return metadata;
  auto names = attribute_names(fd);
  if (!names.ok()) return metadata;
  std::size_t total = 0;
  for (const auto& name : *names) {
    char value[kMetadataBytesMax];
    const ssize_t length = ::fgetxattr(fd, name.c_str(), value, sizeof value);
    if (length < 0) continue;
    const std::string key = name.substr(kAttribute.size());
    total += key.size() + static_cast<std::size_t>(length);
    const std::string_view text(value, static_cast<std::size_t>(length));
    if (total > kMetadataBytesMax) break;
    if (printable(key) && printable(text)) metadata.emplace_back(key, text);
  }
  return metadata;
}

}  // namespace atl::agent
