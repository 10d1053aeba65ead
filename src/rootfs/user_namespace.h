#pragma once
#include <cstdint>

#include "base/result.h"
#include "base/unique_fd.h"

namespace atl::rootfs {

// A user namespace that maps 0..count-1 to first..first+count-1, kept alive by the descriptor
// alone; no process lives in it. It says to mount_setattr how a layer's owners are shifted, and a
// runtime may put a sandbox into it.
//
// It is made as user `first`, not as root: the kernel counts what is made inside (inotify instances
// and watches, nested namespaces, pending signals, queues) against the namespace's maker as well,
// and with root for a maker one sandbox could use up what root on the host may have.
//
// This process stops being dumpable (the kernel does so, since the maker borrows its memory). Needs
// root. Blocks for less than a millisecond.
Result<UniqueFd> make_user_namespace(std::uint32_t first, std::uint32_t count);

}  // namespace atl::rootfs
