#include "rootfs/loop.h"

#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <cstring>

#include "base/fs.h"

namespace atl::rootfs {
namespace {

constexpr int kAttempts = 64;  // others may take the free device between asking and configuring

}  // namespace

Result<LoopDevice> attach_loop(const std::string& image) {
  TRY(const UniqueFd control, open_fd("/dev/loop-control", O_RDWR));
  TRY(const UniqueFd file, open_fd(image, O_RDWR));
  struct loop_config config {};
  config.fd = static_cast<std::uint32_t>(file.get());
  // Direct, so that what a sandbox writes is not held twice in memory; the kernel goes without where
  // the image's file system cannot. Blocks of 4 KiB (mkfs has them too) are aligned for any disk.
  config.info.lo_flags = LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO;
  config.block_size = 4096;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    const int number = ::ioctl(control.get(), LOOP_CTL_GET_FREE);
    if (number < 0) return os_error("ioctl(LOOP_CTL_GET_FREE)", "/dev/loop-control");
    const std::string path = "/dev/loop" + std::to_string(number);
    TRY(UniqueFd device, open_fd(path, O_RDWR));
    if (::ioctl(device.get(), LOOP_CONFIGURE, &config) == 0) return LoopDevice{std::move(device), path};
    if (errno != EBUSY) return os_error("ioctl(LOOP_CONFIGURE)", path + " " + image);
  }
  return make_error(Errc::unavailable, "no free loop device after " + std::to_string(kAttempts) + " attempts");
}

bool loop_has(const std::string& device, const std::string& image) {
  const std::string name = device.substr(device.rfind('/') + 1);
  const auto backing = read_file("/sys/block/" + name + "/loop/backing_file", 8192);
  if (!backing.ok()) return false;
  const std::string_view text(*backing);
  const auto line = text.substr(0, text.find('\n'));
  // The kernel marks a file that has been unlinked meanwhile.
  return line == image || line == image + " (deleted)";
}

std::optional<std::string> find_loop(const std::string& image) {
  const auto names = list_dir("/sys/block");
  if (!names.ok()) return std::nullopt;
  for (const std::string& name : *names)
    if (name.rfind("loop", 0) == 0 && loop_has("/dev/" + name, image)) return "/dev/" + name;
  return std::nullopt;
}

}  // namespace atl::rootfs
