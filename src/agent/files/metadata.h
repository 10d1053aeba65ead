#pragma once
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "rpc/message.h"

// A file's metadata: X-Metadata-<Key> of an upload, kept as the extended attribute user.e2b.<key>.
namespace atl::agent {

using Metadata = std::vector<std::pair<std::string, std::string>>;  // sorted by key

inline constexpr std::size_t kMetadataKeyBytesMax = 246;  // XATTR_NAME_MAX less "user.e2b."
inline constexpr std::size_t kMetadataBytesMax = 4096;    // keys and values together

// Keys in lower case. Errc::invalid: a key or value that is not printable ASCII, or over a bound.
Result<Metadata> metadata_of(const rpc::Headers& headers);

// Blocking. Replaces the whole set. Where there is nothing to write, a file system that keeps no
// extended attributes is no error; else it is Errc::unsupported.
Status write_metadata(int fd, const Metadata& metadata);
// Blocking. Empty where the file system keeps none. At most kMetadataBytesMax are read.
Metadata read_metadata(int fd);

}  // namespace atl::agent
