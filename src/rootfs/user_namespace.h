#pragma once
#include <cstdint>

#include "base/result.h"
#include "base/unique_fd.h"

namespace atl::rootfs {

// A user namespace that maps 0..count-1 to first..first+count-1, kept alive by the descriptor
// alone. It says to mount_setattr how a layer's owners are shifted; no process lives in it.
Result<UniqueFd> make_user_namespace(std::uint32_t first, std::uint32_t count);

}  // namespace atl::rootfs
