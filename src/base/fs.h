#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace atl {

Result<std::string> read_file(const std::string& path, std::size_t bytes_max);
// Temporary name, fsync, rename, fsync of the folder: either the old or the new content survives a crash.
Status write_file_atomic(const std::string& path, std::string_view content, unsigned mode);
Status write_file(const std::string& path, std::string_view content);  // existing file, e.g. in cgroupfs
Status make_dirs(const std::string& path, unsigned mode);
Result<std::vector<std::string>> list_dir(const std::string& path);    // names, sorted
Status remove_tree(const std::string& path);                           // missing is fine; never follows links; stays on one file system
bool exists(const std::string& path);
Result<UniqueFd> open_fd(const std::string& path, int flags, unsigned mode = 0);  // O_CLOEXEC added

}  // namespace atl
