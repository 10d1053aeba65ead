#include "isolation/vm/guest_files.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sstream>

#include "base/crypto.h"
#include "base/fs.h"
#include "base/subprocess.h"
#include "isolation/vm/cpio.h"
#include "rootfs/mount.h"

namespace atl::isolation::vm {
namespace {

constexpr std::size_t kAgentBytesMax = 64u << 20, kModuleBytesMax = 16u << 20;
constexpr int kMkfsTimeoutMs = 600'000;
// Goes up when what is made of the same input changes.
constexpr char kMaking[] = "1";

std::string last_part(const std::string& path) { return path.substr(path.rfind('/') + 1); }

// All layers as one tree, at a folder of its own for as long as the object lives.
class Merged {
 public:
  static Result<std::unique_ptr<Merged>> mount(const std::vector<std::string>& layers, const std::string& dir) {
    CHECK_OK(make_dirs(dir, 0700));
    std::string options = "lowerdir=";  // the highest first
    for (auto layer = layers.rbegin(); layer != layers.rend(); ++layer)
      options.append(layer == layers.rbegin() ? "" : ":").append(*layer);
    if (::mount("overlay", dir.c_str(), "overlay", MS_RDONLY | MS_NODEV | MS_NOSUID | MS_NOEXEC, options.c_str()) != 0)
      return os_error("mount overlay", dir);
    return std::unique_ptr<Merged>(new Merged(dir));
  }
  ~Merged() {
    mount_.detach();
    ::rmdir(dir_.c_str());
  }

 private:
  explicit Merged(const std::string& dir) : dir_(dir), mount_(dir) {}
  std::string dir_;
  rootfs::Mount mount_;
};

}  // namespace

Result<std::string> GuestFiles::kernel_release() const {
  auto text = read_file(options_.kernel_dir + "/release", 256);
  if (!text.ok() || !exists(kernel()))
    return make_error(Errc::unsupported, "no guest kernel in " + options_.kernel_dir +
                                             "; atoll's setup puts Debian's there (tools/guest-kernel)");
  return text->substr(0, text->find('\n'));
}

Result<std::string> GuestFiles::initramfs(const std::string& agent_path) {
  const std::lock_guard lock(mutex_);
  struct stat info {};
  if (::stat(agent_path.c_str(), &info) != 0) return os_error("stat", agent_path);
  const Stamp stamp{info.st_mtim.tv_sec * 1'000'000'000ll + info.st_mtim.tv_nsec, info.st_size, info.st_ino};
  if (const auto known = initramfs_.find(agent_path);
      known != initramfs_.end() && known->second.first == stamp && exists(known->second.second))
    return known->second.second;
  TRY(std::string path, make_initramfs(agent_path));
  initramfs_[agent_path] = {stamp, path};
  return path;
}

Result<std::string> GuestFiles::make_initramfs(const std::string& agent_path) const {
  TRY([[maybe_unused]] const std::string release, kernel_release());
  const std::string modules = options_.kernel_dir + "/modules";
  TRY(const std::string agent, read_file(agent_path, kAgentBytesMax));
  TRY(const std::string order, read_file(modules + "/order", 4096));
  CpioWriter archive;
  for (const char* folder : {"dev", "atoll", "atoll/modules"}) archive.folder(folder);
  archive.character_device("dev/console", 0600, 5, 1);
  archive.file("atoll/modules/order", order, 0444);
  std::istringstream names(order);
  for (std::string name; names >> name;) {
    TRY(const std::string module, read_file(modules + "/" + name, kModuleBytesMax));
    archive.file("atoll/modules/" + name, module, 0444);
  }
  archive.file("init", agent, 0555);
  const std::string content = archive.finish();
  std::string path = options_.dir + "/initramfs-" + sha256_hex(content).substr(0, 32) + ".cpio";
  if (exists(path)) return path;
  CHECK_OK(make_dirs(options_.dir, 0711));
  CHECK_OK(write_file_atomic(path, content, 0444));
  return path;
}

Result<std::string> GuestFiles::image(const rootfs::Template& from) {
  std::string made_of = kMaking;
  for (const std::string& layer : from.layers) made_of += " " + last_part(layer);
  std::string path = options_.dir + "/image-" + sha256_hex(made_of).substr(0, 32) + ".erofs";
  if (exists(path)) return path;
  const std::lock_guard lock(image_mutex_);
  if (exists(path)) return path;
  CHECK_OK(make_image(from, path));
  return path;
}

Status GuestFiles::make_image(const rootfs::Template& from, const std::string& image) const {
  if (!exists(options_.mkfs_erofs))
    return make_error(Errc::unsupported, options_.mkfs_erofs + " is missing: apt-get install erofs-utils");
  CHECK_OK(make_dirs(options_.dir, 0711));
  // Of its own name: templates/build may make the same one at this moment.
  const std::string unfinished = image + ".new-" + random_id(8), merged_at = unfinished + ".tree";
  std::string tree = from.layers.front();
  std::unique_ptr<Merged> merged;
  if (from.layers.size() > 1) {
    TRY(merged, Merged::mount(from.layers, merged_at));
    tree = merged_at;
  }
  // Not compressed: under emulation the guest would pay for it, and clones share the host's cache.
  Command mkfs;
  mkfs.argv = {options_.mkfs_erofs, "--quiet", unfinished, tree};
  mkfs.env = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin"};
  mkfs.timeout_ms = kMkfsTimeoutMs;
  if (const auto said = run_ok(mkfs); !said.ok()) {
    ::unlink(unfinished.c_str());
    return said.error();
  }
  if (::chmod(unfinished.c_str(), 0444) != 0) return os_error("chmod", unfinished);
  // Its name is believed for ever, so all of it is on the disk before it has that name.
  TRY(const UniqueFd made, open_fd(unfinished, O_RDONLY));
  if (::fsync(made.get()) != 0) return os_error("fsync", unfinished);
  if (::rename(unfinished.c_str(), image.c_str()) != 0) return os_error("rename", unfinished);
  return ok();
}

}  // namespace atl::isolation::vm
