#pragma once
#include "base/result.h"

namespace atl::agent::machine {

// /dev, /proc and /sys of the initramfs, and the modules of /atoll/modules/order.
Status mount_kernel_files();
Status load_modules();

// The template's image (EROFS, read-only) below the sandbox's disk (ext4) becomes the root; the
// initramfs is emptied. Disks are told apart by their serial.
Status enter_root();

inline constexpr char kModulesDir[] = "/atoll/modules";

}  // namespace atl::agent::machine
