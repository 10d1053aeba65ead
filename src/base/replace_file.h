#pragma once
#include <string>
#include <string_view>

#include "base/result.h"

namespace atl {

// Temporary name, then rename: a reader, and the death of this process, meet the old or the new content.
// Not synced: a crash of the host may leave neither (see write_file_atomic for that).
Status replace_file(const std::string& path, std::string_view content, unsigned mode);

}  // namespace atl
