#pragma once
#include "base/result.h"

namespace atl::isolation {

// Puts this process, and all it starts, into a mount namespace of its own: sandboxes' mounts are
// nobody else's to see, and vanish with the last process that uses them. Mounts that the host makes
// later still arrive. On a hybrid host the v2 hierarchy is taken away in it, because crun refuses
// to run where it sees both kinds.
//
// Call once, as root, at the start of the process, before any thread.
Status enter_private_mount_namespace();

}  // namespace atl::isolation
