#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace atl::isolation::cgroup {

// Files of cgroupfs are small: at most this is read of one.
inline constexpr std::size_t kFileBytesMax = 1u << 20;

// The file's only number; "max" is -1.
Result<std::int64_t> read_number(const std::string& path);
// The value of a "name number" line.
Result<std::int64_t> read_field(const std::string& path, std::string_view name);
Status write_number(const std::string& path, std::int64_t value);

}  // namespace atl::isolation::cgroup
