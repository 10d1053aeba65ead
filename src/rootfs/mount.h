#pragma once
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace atl::rootfs {

// A mount at a path of this process's mount namespace; goes away, lazily, with the object. Kernel
// objects that still use it (an overlay above it, a process's root) keep what they hold.
class Mount {
 public:
  Mount() = default;
  explicit Mount(std::string path) : path_(std::move(path)) {}
  Mount(Mount&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  Mount& operator=(Mount&& other) noexcept {
    std::swap(path_, other.path_);
    return *this;
  }
  ~Mount() { detach(); }
  const std::string& path() const { return path_; }
  void detach();

 private:
  std::string path_;  // "" = none
};

// Puts a detached mount at `path`, an existing folder.
Result<Mount> attach(int mount_fd, const std::string& path);
// A copy of the mount at `tree` with only the folder below it, read-only, owners shifted by the
// namespace. Needs a file system that allows id-mapped mounts (ext4, xfs, btrfs, tmpfs since 6.3).
Result<UniqueFd> clone_idmapped(const std::string& tree, int user_namespace_fd);
// A fresh file system of a block device, not attached anywhere. `options` is "a,b=c".
Result<UniqueFd> mount_device(const std::string& type, const std::string& device, const std::string& options);

}  // namespace atl::rootfs
