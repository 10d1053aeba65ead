#pragma once
#include <string_view>

#include "base/result.h"
#include "base/unique_fd.h"

namespace atl::isolation {

// A pipe that already holds all of `content` (at most 1 MiB), with its write end closed: a reader
// gets it and then the end of file. Unlike a file it is gone once read.
Result<UniqueFd> filled_pipe(std::string_view content);

}  // namespace atl::isolation
