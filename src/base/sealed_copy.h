#pragma once
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace atl {

// A program's file in sealed memory, to be run as /proc/self/fd/N. Nobody can change it, which is
// what OCI runtimes make sure of at each start by copying themselves. At most 64 MiB. Fails where
// the host forbids programs in memory (sysctl vm.memfd_noexec = 2).
Result<UniqueFd> sealed_copy(const std::string& path);

}  // namespace atl
