#pragma once
#include "base/json.h"

namespace atl::isolation {

// What of this host bears on isolation: kernel release, the kernel's word on each CPU
// vulnerability, and whether hardware threads share a core (SMT).
json::object host_facts();

}  // namespace atl::isolation
