#pragma once
#include <string>
#include <variant>
#include <vector>

#include "cli/options.h"

namespace atl::cli {

// Said at once, without a daemon: help (exit code 0, standard output) or a usage error (2, standard
// error).
struct Say {
  std::string text;
  int exit_code = 0;
};

// `args` without the program's name. The first "--" ends atoll's own words for run, exec and
// shell; all behind it is the command inside, literally, whatever it looks like.
std::variant<Invocation, Say> parse_arguments(const std::vector<std::string>& args);

// For completion: commands and the long options of each, from the same declarations.
struct CommandWords {
  std::string name, description;
  std::vector<std::string> options;
};
std::vector<CommandWords> command_words();

}  // namespace atl::cli
