#pragma once
#include <string>

namespace atl::isolation {

// The end of what a runtime or VMM wrote of its failure, for an error's text: at most 2000 bytes, its
// lines joined by "; ". "" where the file cannot be read.
std::string log_tail(const std::string& file);

}  // namespace atl::isolation
