#pragma once
#include <string>

#include "rootfs/disk.h"
#include "rootfs/mount.h"
#include "rootfs/template.h"

namespace atl::rootfs {

// A sandbox's root file system, mounted at a path of this process's mount namespace until the
// runtime has taken it: after that the object may go, the sandbox's own namespace keeps it.
//
// The template's layers, each id-mapped as `user_namespace` says (user_namespace.h), below an overlay whose upper layer
// is the sandbox's disk. `scratch` is an empty folder that this call may fill and that others can
// pass through (mode 0711 at least on every folder to it: the runtime walks it as the sandbox's
// root). Kernel 5.19 or later.
//
//   <scratch>/root      the root
//   <scratch>/layers/N  only during the call
//   <scratch>/disk      only during the call
Result<Mount> mount_root(const Template& from, const Disk& disk, int user_namespace, const std::string& scratch);

// Removes what a mount_root that was cut off left there, and the folder.
void remove_scratch(const std::string& scratch);

}  // namespace atl::rootfs
