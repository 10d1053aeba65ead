#include "rootfs/disk.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/subprocess.h"
#include "rootfs/loop.h"
#include "rootfs/mount.h"

namespace atl::rootfs {
namespace {

// noinit_itable: the inode tables stay holes in the image instead of being zeroed by the kernel
// (256 bytes an inode). discard: what a sandbox deletes goes back to the host.
constexpr char kMountOptions[] = "noinit_itable,discard";
constexpr int kMkfsTimeoutMs = 60'000;

// EXT4_IOC_SHUTDOWN and its flag "no log flush", of the kernel's fs/ext4/ext4.h.
constexpr unsigned long kExt4Shutdown = _IOR('X', 125, std::uint32_t);
constexpr std::uint32_t kShutdownNoLogFlush = 2;

// Only the extents that hold data; the rest of `to` stays a hole.
Status copy_sparse(int from, int to, std::int64_t bytes, const std::string& path) {
  if (::ftruncate(to, bytes) != 0) return os_error("ftruncate", path);
  off_t at = 0;
  for (;;) {
    off_t start = ::lseek(from, at, SEEK_DATA);
    if (start < 0 && errno == ENXIO) return ok();
    if (start < 0) return os_error("lseek(SEEK_DATA)", path);
    const off_t end = ::lseek(from, start, SEEK_HOLE);
    if (end < 0) return os_error("lseek(SEEK_HOLE)", path);
    for (off_t out = start; start < end;) {
      const ssize_t n = ::copy_file_range(from, &start, to, &out, end - start, 0);
      if (n < 0) return os_error("copy_file_range", path);
      if (n == 0) return make_error(Errc::internal, path + ": the master became shorter while it was copied");
    }
    at = end;
  }
}

Result<Disk> mount_image(const std::string& image, const std::string& device) {
  TRY(UniqueFd mount, mount_device("ext4", device, kMountOptions));
  return Disk(image, device, std::move(mount));
}

}  // namespace

Result<Disk> Disk::reopen(const std::string& image) {
  const auto device = find_loop(image);
  if (!device) return make_error(Errc::not_found, image + ": no loop device has this image");
  return mount_image(image, *device);
}

Result<DiskUse> Disk::use() const {
  struct statfs info {};
  if (::fstatfs(mount_.get(), &info) != 0) return os_error("fstatfs", image_);
  const std::int64_t block = info.f_bsize;
  return DiskUse{static_cast<std::int64_t>(info.f_blocks - info.f_bfree) * block,
                 static_cast<std::int64_t>(info.f_blocks) * block};
}

Status Disk::prepare(std::uint32_t owner) {
  for (const char* name : {"upper", "work"}) {
    if (::mkdirat(mount_.get(), name, 0755) != 0 && errno != EEXIST) return os_error("mkdir", image_);
    if (::fchownat(mount_.get(), name, owner, owner, AT_SYMLINK_NOFOLLOW) != 0) return os_error("chown", image_);
  }
  return ok();
}

Status Disk::rename_image(const std::string& image) {
  if (::rename(image_.c_str(), image.c_str()) != 0) return os_error("rename", image_ + " " + image);
  image_ = image;
  return ok();
}

void Disk::shut_down() {
  if (!mount_.valid()) return;
  // The mount's own descriptor is an O_PATH one, which serves no ioctl.
  const UniqueFd folder(::openat(mount_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  std::uint32_t flags = kShutdownNoLogFlush;
  if (folder.valid()) ::ioctl(folder.get(), kExt4Shutdown, &flags);
}

Result<UniqueFd> copy_image(const std::string& from, const std::string& to) {
  TRY(const UniqueFd source, open_fd(from, O_RDONLY));
  struct stat info {};
  if (::fstat(source.get(), &info) != 0) return os_error("stat", from);
  TRY(UniqueFd target, open_fd(to, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
  if (Status copied = copy_sparse(source.get(), target.get(), info.st_size, to); !copied.ok()) {
    ::unlink(to.c_str());
    return std::move(copied).error();
  }
  return target;
}

std::string DiskMaker::master_of(DiskSize size) const {
  return dir_ + "/master-" + std::to_string(size.bytes) + "-" + std::to_string(size.inodes) + ".img";
}

Status DiskMaker::prepare(DiskSize size) const {
  if (size.bytes < kDiskBytesMin || size.bytes > kDiskBytesMax || size.inodes < kInodesMin ||
      size.inodes > kInodesMax || size.inodes > size.bytes / 1024)
    return make_error(Errc::invalid, "a disk of " + std::to_string(size.bytes) + " bytes and " +
                                         std::to_string(size.inodes) +
                                         " inodes: allowed are 16 MiB to 4 TiB, and 1024 inodes to one each KiB");
  const std::string master = master_of(size);
  if (exists(master)) return ok();
  CHECK_OK(make_dirs(dir_, 0700));
  const std::string unfinished = master + ".new";
  {
    TRY(const UniqueFd fd, open_fd(unfinished, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600));
    if (::ftruncate(fd.get(), size.bytes) != 0) return os_error("ftruncate", unfinished);
  }
  // Features are named, so that the host's mke2fs.conf does not matter. No journal: a disk never outlives its sandbox, and a sandbox never a crash of the host.
  Command mkfs;
  mkfs.argv = {mkfs_path_, "-q", "-F", "-m", "0", "-N", std::to_string(size.inodes), "-I", "256", "-b", "4096",
               "-O", "none,ext_attr,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file,huge_file,dir_nlink,"
                     "extra_isize,metadata_csum",
               "-E", "lazy_itable_init=1,nodiscard,root_owner=0:0", unfinished};
  mkfs.env = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin"};
  mkfs.timeout_ms = kMkfsTimeoutMs;
  TRY([[maybe_unused]] const std::string said, run_ok(mkfs));
  if (::rename(unfinished.c_str(), master.c_str()) != 0) return os_error("rename", unfinished);
  return ok();
}

Result<UniqueFd> DiskMaker::make_image(DiskSize size, const std::string& image) const {
  return copy_image(master_of(size), image);
}

Result<Disk> DiskMaker::make(DiskSize size, const std::string& image) const {
  auto finish = [&]() -> Result<Disk> {
    TRY(const LoopDevice loop, attach_loop(image));
    return mount_image(image, loop.path);
  };
  TRY(const UniqueFd file, make_image(size, image));
  auto disk = finish();
  if (!disk.ok()) ::unlink(image.c_str());
  return disk;
}

}  // namespace atl::rootfs
