#pragma once
#include "atolld/options.h"

namespace atl::atolld {

// Each is one action of the command line, and returns the process's exit status.
int run_role(const Invocation& call);
int bootstrap(const Config& config);

// Everything after main's first line.
int atolld_main(int argc, char** argv);

}  // namespace atl::atolld
