#pragma once
#include <map>
#include <mutex>
#include <string>

#include "base/result.h"
#include "rootfs/template.h"

namespace atl::isolation::vm {

// What machines are made of, kept as files that every sandbox shares and nobody changes.
//
//   <kernel_dir>/vmlinux, release, modules/     made by tools/guest-kernel
//   <dir>/initramfs-HASH.cpio                   the agent as /init, and the modules
//   <dir>/image-HASH.erofs                      a template's layers as one file system
//
// A name's hash is of all that the file is made of. Calls block; the same file is made once.
class GuestFiles {
 public:
  struct Options {
    std::string kernel_dir, dir;
    std::string mkfs_erofs = "/usr/bin/mkfs.erofs";
  };
  explicit GuestFiles(Options options) : options_(std::move(options)) {}

  std::string kernel() const { return options_.kernel_dir + "/vmlinux"; }
  // The kernel's version. Errc::unsupported with the cure where there is none.
  Result<std::string> kernel_release() const;
  // Milliseconds once made. The error names the agent's path.
  Result<std::string> initramfs(const std::string& agent_path);
  // Seconds for a large template that has none yet: 1.1 s for 420 MB.
  Result<std::string> image(const rootfs::Template& from);

 private:
  struct Stamp {  // of the agent's file
    std::int64_t mtime_ns = 0, size = 0;
    std::uint64_t inode = 0;
    auto operator<=>(const Stamp&) const = default;
  };
  Result<std::string> make_initramfs(const std::string& agent_path) const;
  Status make_image(const rootfs::Template& from, const std::string& image) const;

  const Options options_;
  std::mutex mutex_;        // of the initramfs
  std::mutex image_mutex_;  // one image at a time: mkfs takes a whole core
  std::map<std::string, std::pair<Stamp, std::string>> initramfs_;  // by the agent's path
};

}  // namespace atl::isolation::vm
