#include "cli/version.h"

namespace atl::cli {
const char* const kVersion = "0.1.0";
}  // namespace atl::cli
