#include "isolation/oci/host_namespace.h"

#include <sched.h>
#include <sys/mount.h>

#include "base/fs.h"
#include "isolation/cgroup/layout.h"

namespace atl::isolation {

Status enter_private_mount_namespace() {
  if (::unshare(CLONE_NEWNS) != 0) return os_error("unshare(CLONE_NEWNS)", "");
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0) return os_error("mount(MS_SLAVE)", "/");
  TRY(const std::string mountinfo, read_file("/proc/self/mountinfo", 64u << 20));
  TRY(const cgroup::Layout layout, cgroup::parse_layout(mountinfo));
  if (!layout.hybrid_unified) return ok();
  if (::umount2(layout.unified.c_str(), MNT_DETACH) != 0) return os_error("umount", layout.unified);
  return ok();
}

}  // namespace atl::isolation
