#pragma once
#include "base/config.h"

namespace atl::node {

// `atolld probe`: tries every tier and prints what was found as JSON on standard output. Returns the
// exit status: 0 where at least one tier works, else 1.
int run_probe(const Config& config);

}  // namespace atl::node
