#pragma once
#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "rootfs/disk.h"

namespace atl::rootfs {

// Keeps a few mounted disks of each size ahead of need, so that a create does not pay for them.
// Calls block and may come from any thread. One object for a folder: at its start it removes the
// ready disks that an earlier process left.
//
//   <dir>/master-BYTES-INODES.img   what images are copied from
//   <dir>/ready-RANDOM.img          mounted, nobody's
//   <dir>/id-ID.img                 a sandbox's
class DiskPool {
 public:
  struct Options {
    std::string dir;                          // Paths::disks_dir()
    std::string mkfs_path = "/usr/sbin/mkfs.ext4";
    std::size_t ready_per_size = 4;
    std::size_t sizes_max = 4;                // sizes kept ready; the least recently used goes
  };
  explicit DiskPool(Options options);
  DiskPool(const DiskPool&) = delete;
  ~DiskPool();

  // A disk for that sandbox with its folders made and owned; a ready one, or else a new one.
  Result<Disk> take(DiskSize size, const std::string& id, std::uint32_t owner);
  // Makes disks until `ready_per_size` of this size wait. Its failure shows again in take().
  Status refill(DiskSize size);

  std::string image_of(const std::string& id) const { return options_.dir + "/id-" + id + ".img"; }
  // Deletes a sandbox's image and waits until its loop device is free, at most `within_ms`; the
  // caller has ended all that used the disk. `disk` may be empty, as after a restart.
  Status discard(const std::string& id, Disk disk, int within_ms) const;
  std::vector<std::string> ids() const;        // sandboxes with an image in the folder
  std::size_t ready(DiskSize size) const;

 private:
  struct Shelf {
    std::deque<Disk> disks;
    std::size_t in_making = 0;
    std::uint64_t last_used = 0;
  };
  Result<Disk> make(DiskSize size, const std::string& image);
  void trim_locked(std::vector<Disk>& dropped);

  const Options options_;
  const DiskMaker maker_;
  mutable std::mutex mutex_;
  std::mutex master_mutex_;                    // one mkfs at a time
  std::map<DiskSize, Shelf> shelves_;
  std::uint64_t uses_ = 0;
};

}  // namespace atl::rootfs
