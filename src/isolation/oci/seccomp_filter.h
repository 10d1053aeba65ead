#pragma once
#include <string>

#include "base/json.h"
#include "base/result.h"

namespace atl::isolation::oci {

// A profile in the runtime specification's form, compiled to the kernel's classic BPF (struct
// sock_filter, this machine's byte order). Done once, since it takes milliseconds that crun would
// spend at each start. System calls that libseccomp does not know are left to the default action.
Result<std::string> compile_seccomp(const json::object& profile);

}  // namespace atl::isolation::oci
