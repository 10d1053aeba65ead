#pragma once
#include <cstdint>
#include <string>

#include "base/result.h"

namespace atl {

// What a log file may grow to before it is put aside as PATH.1, in the place of the one before: so
// twice this in all, and what is written within a minute.
inline constexpr std::int64_t kLogFileBytesMax = 16 << 20;

// Where `atoll start` lets the daemon's words go, below the root folder.
inline std::string daemon_log(const std::string& root) { return root + "/atolld.log"; }

// While nobody writes: a file over `bytes_max` is renamed to PATH.1. A missing file is fine.
Status put_log_aside(const std::string& path, std::int64_t bytes_max);

// While others write to it with O_APPEND, through descriptors that they keep: its last `bytes_max`
// bytes, from the beginning of a line, are copied to PATH.1, and it is emptied. What is written in
// between is lost. True where that was done; false where the file is small, missing, or no regular
// file. Blocking.
Result<bool> cap_log(const std::string& path, std::int64_t bytes_max);

}  // namespace atl
