#include <unistd.h>

#include <cstdio>
#include <string>
#include <vector>

#include "cli/commands.h"

int main(int argc, char** argv) {
  const int exit_code = atl::cli::run_program(std::vector<std::string>(argv + 1, argv + argc));
  std::fflush(nullptr);
  // Not a return: a thread may still wait for a standard input or output that never moves again.
  ::_exit(exit_code);
}
