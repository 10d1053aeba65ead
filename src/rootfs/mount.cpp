#include "rootfs/mount.h"

#include <fcntl.h>
#include <sys/mount.h>

#include <cstring>

namespace atl::rootfs {

void Mount::detach() {
  if (!path_.empty()) ::umount2(std::exchange(path_, {}).c_str(), MNT_DETACH | UMOUNT_NOFOLLOW);
}

Result<Mount> attach(int mount_fd, const std::string& path) {
  if (::move_mount(mount_fd, "", AT_FDCWD, path.c_str(), MOVE_MOUNT_F_EMPTY_PATH) != 0)
    return os_error("move_mount", path);
  return Mount(path);
}

Result<UniqueFd> clone_idmapped(const std::string& tree, int user_namespace_fd) {
  UniqueFd fd(::open_tree(AT_FDCWD, tree.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
  if (!fd.valid()) return os_error("open_tree", tree);
  struct mount_attr attr {};
  attr.attr_set = MOUNT_ATTR_IDMAP | MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV;
  attr.userns_fd = static_cast<std::uint64_t>(user_namespace_fd);
  if (::mount_setattr(fd.get(), "", AT_EMPTY_PATH, &attr, sizeof attr) != 0) {
    Error error = os_error("mount_setattr(idmap)", tree);
    error.message += "; layers must lie on a file system that allows id-mapped mounts (ext4, xfs, btrfs)";
    return error;
  }
  return fd;
}

Result<UniqueFd> mount_device(const std::string& type, const std::string& device, const std::string& options) {
  UniqueFd context(::fsopen(type.c_str(), FSOPEN_CLOEXEC));
  if (!context.valid()) return os_error("fsopen", type);
  if (::fsconfig(context.get(), FSCONFIG_SET_STRING, "source", device.c_str(), 0) != 0)
    return os_error("fsconfig source", device);
  for (std::size_t at = 0; at < options.size();) {
    const auto comma = std::min(options.find(',', at), options.size());
    const std::string option = options.substr(at, comma - at);
    const auto equals = option.find('=');
    const int rc = equals == std::string::npos
                       ? ::fsconfig(context.get(), FSCONFIG_SET_FLAG, option.c_str(), nullptr, 0)
                       : ::fsconfig(context.get(), FSCONFIG_SET_STRING, option.substr(0, equals).c_str(),
                                    option.c_str() + equals + 1, 0);
    if (rc != 0) return os_error("fsconfig " + option, device);
    at = comma + 1;
  }
  if (::fsconfig(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0) return os_error("mount", device);
  UniqueFd mounted(::fsmount(context.get(), FSMOUNT_CLOEXEC, MOUNT_ATTR_NODEV));
  if (!mounted.valid()) return os_error("fsmount", device);
  return mounted;
}

}  // namespace atl::rootfs
