#pragma once
#include <string_view>

// The longer texts of --help.
namespace atl::cli {

extern const char* const kFooter;         // of atoll itself
extern const char* const kRunFooter;
extern const char* const kExecFooter;
extern const char* const kShellFooter;
extern const char* const kCopyFooter;
extern const char* const kDaemonFooter;   // start, restart

// What a usage line ends with: " -- COMMAND [ARGUMENT...]"; "" where nothing follows --.
std::string_view usage_tail(std::string_view command);

}  // namespace atl::cli
