#pragma once
#include <string>
#include <vector>

#include "cli/args.h"

namespace atl::cli {

// A script for bash, zsh or fish that completes commands, their options and sandboxes' ids.
std::string completion_script(const std::string& shell, const std::vector<CommandWords>& commands);

}  // namespace atl::cli
