#pragma once
#include <compare>
#include <cstdint>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace atl::rootfs {

struct DiskSize {
  std::int64_t bytes = 0;
  std::int64_t inodes = 0;
  auto operator<=>(const DiskSize&) const = default;
};

struct DiskUse {
  std::int64_t used_bytes = 0, total_bytes = 0;
};

// A mounted disk image. The mount is attached to no path: it lives by this object's descriptor and
// by the sandbox's overlay, and the loop device by the mount, so nothing of it outlives them.
//
// The image is sparse: many disks may together promise more than the host has.
class Disk {
 public:
  Disk() = default;
  Disk(std::string image, std::string device, UniqueFd mount)
      : image_(std::move(image)), device_(std::move(device)), mount_(std::move(mount)) {}

  // Mounts an image whose loop device other mounts keep alive (after the node's restart). The
  // kernel gives the same file system again. Errc::not_found when no device has this image.
  static Result<Disk> reopen(const std::string& image);

  bool valid() const { return mount_.valid(); }
  const std::string& image() const { return image_; }
  const std::string& device() const { return device_; }  // /dev/loopN
  // The detached mount. It may be attached to a path once (rootfs::mount_root does so).
  int mount_fd() const { return mount_.get(); }
  Result<DiskUse> use() const;
  // Makes the folders upper and work, owned by `owner` (the sandbox's root as seen by the host).
  Status prepare(std::uint32_t owner);
  Status rename_image(const std::string& image);
  // Throws away what was not yet written, so that unmounting does not flush gigabytes that are
  // about to be deleted. Everything on the disk fails from now on.
  void shut_down();

 private:
  std::string image_, device_;
  UniqueFd mount_;
};

// A sparse copy of an image that nobody writes now; its writable descriptor. Nothing is left of one that fails.
Result<UniqueFd> copy_image(const std::string& from, const std::string& to);

// Makes images of one size by a sparse copy of a master, on which mkfs ran once.
class DiskMaker {
 public:
  // `dir` is this instance's own, on the file system whose space the disks use.
  DiskMaker(std::string dir, std::string mkfs_path) : dir_(std::move(dir)), mkfs_path_(std::move(mkfs_path)) {}
  // Makes the master of a size where there is none: a part of a second. One call at a time.
  Status prepare(DiskSize size) const;
  // The image alone, not mounted, for a guest's own kernel: its writable descriptor. The size's
  // master must be there.
  Result<UniqueFd> make_image(DiskSize size, const std::string& image) const;
  // The same, mounted: milliseconds.
  Result<Disk> make(DiskSize size, const std::string& image) const;
  const std::string& dir() const { return dir_; }

 private:
  std::string master_of(DiskSize size) const;
  std::string dir_, mkfs_path_;
};

inline constexpr std::int64_t kDiskBytesMin = 16ll << 20;
inline constexpr std::int64_t kDiskBytesMax = 4ll << 40;
inline constexpr std::int64_t kInodesMin = 1024;
inline constexpr std::int64_t kInodesMax = 100'000'000;

}  // namespace atl::rootfs
