#include "agent/machine/mounts.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <sstream>

#include "base/fs.h"

namespace atl::agent::machine {
namespace {

constexpr int kTries = 5'000;
constexpr timespec kPause{0, 2'000'000};

// Serials that the node gives the disks (isolation/vm/machine.h).
constexpr char kRootSerial[] = "atoll-root", kDiskSerial[] = "atoll-disk";

struct MountAt {
  const char *source, *target, *type;
  unsigned long flags;
  const char* options;
};

Status mount_at(const MountAt& m) {
  CHECK_OK(make_dirs(m.target, 0755));
  if (::mount(m.source, m.target, m.type, m.flags, m.options) != 0) return os_error("mount", m.target);
  return ok();
}

Result<std::string> find_disk(const std::string& serial) {
  for (int i = 0; i < kTries; ++i) {
    const auto names = list_dir("/sys/block");
    if (names.ok()) {
      for (const std::string& name : *names) {
        const auto said = read_file("/sys/block/" + name + "/serial", 64);
        if (said.ok() && *said == serial && exists("/dev/" + name)) return "/dev/" + name;
      }
    }
    ::nanosleep(&kPause, nullptr);
  }
  return make_error(Errc::deadline, "the machine has no disk " + serial);
}

Status mount_root() {
  TRY(const std::string image, find_disk(kRootSerial));
  TRY(const std::string disk, find_disk(kDiskSerial));
  CHECK_OK(mount_at({image.c_str(), "/atoll/image", "erofs", MS_RDONLY | MS_NODEV, nullptr}));
  // discard: what is deleted goes back to the host. No journal, hence nothing to sync.
  CHECK_OK(mount_at({disk.c_str(), "/atoll/disk", "ext4", MS_NODEV | MS_NOATIME, "noinit_itable,discard"}));
  CHECK_OK(make_dirs("/atoll/disk/upper", 0755));
  CHECK_OK(make_dirs("/atoll/disk/work", 0755));
  // volatile: a disk does not outlive its sandbox's machine, so fsync inside costs nothing.
  return mount_at({"overlay", "/atoll/root", "overlay", MS_NODEV,
                   "lowerdir=/atoll/image,upperdir=/atoll/disk/upper,workdir=/atoll/disk/work,volatile"});
}

// The files of the initramfs are memory; this program's own stays, as it runs.
void empty_initramfs() {
  for (const char* path : {"/atoll/modules", "/init"}) {
    const Status gone = remove_tree(path);
    (void)gone.ok();  // memory that is not given back, and nothing else
  }
}

Status links_in_dev() {
  const std::pair<const char*, const char*> links[] = {{"/proc/self/fd", "/dev/fd"},
                                                       {"/proc/self/fd/0", "/dev/stdin"},
                                                       {"/proc/self/fd/1", "/dev/stdout"},
                                                       {"/proc/self/fd/2", "/dev/stderr"}};
  for (const auto& [target, link] : links)
    if (::symlink(target, link) != 0 && errno != EEXIST) return os_error("symlink", link);
  return ok();
}

Status mount_in_root() {
  constexpr unsigned long kUsual = MS_NOSUID | MS_NOEXEC | MS_NODEV;
  CHECK_OK(mount_at({"devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "ptmxmode=0666,mode=0620,gid=5,max=256"}));
  CHECK_OK(mount_at({"shm", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777"}));
  CHECK_OK(mount_at({"mqueue", "/dev/mqueue", "mqueue", kUsual, nullptr}));
  // Docker and the like want cgroups; a kernel without them is no reason to fail.
  const Status groups = mount_at({"cgroup2", "/sys/fs/cgroup", "cgroup2", kUsual, nullptr});
  (void)groups.ok();
  return links_in_dev();
}

}  // namespace

Status mount_kernel_files() {
  CHECK_OK(mount_at({"dev", "/dev", "devtmpfs", MS_NOSUID | MS_NOEXEC, "mode=755"}));
  CHECK_OK(mount_at({"proc", "/proc", "proc", MS_NOSUID | MS_NOEXEC | MS_NODEV, nullptr}));
  return mount_at({"sys", "/sys", "sysfs", MS_NOSUID | MS_NOEXEC | MS_NODEV, nullptr});
}

Status load_modules() {
  TRY(const std::string order, read_file(std::string(kModulesDir) + "/order", 4096));
  std::istringstream names(order);
  for (std::string name; names >> name;) {
    const std::string path = std::string(kModulesDir) + "/" + name;
    TRY(const UniqueFd file, open_fd(path, O_RDONLY));
    if (::syscall(SYS_finit_module, file.get(), "", 0) != 0 && errno != EEXIST) return os_error("finit_module", path);
  }
  return ok();
}

Status enter_root() {
  CHECK_OK(mount_root());
  for (const char* name : {"/dev", "/proc", "/sys"}) {
    const std::string target = std::string("/atoll/root") + name;
    if (::mkdir(target.c_str(), 0755) != 0 && errno != EEXIST) return os_error("mkdir", target);
    if (::mount(name, target.c_str(), nullptr, MS_MOVE, nullptr) != 0) return os_error("mount(MS_MOVE)", target);
  }
  empty_initramfs();
  // The initramfs cannot be unmounted or pivoted away: the new root is moved over it.
  if (::chdir("/atoll/root") != 0 || ::mount(".", "/", nullptr, MS_MOVE, nullptr) != 0 || ::chroot(".") != 0 ||
      ::chdir("/") != 0)
    return os_error("switch root", "/atoll/root");
  return mount_in_root();
}

}  // namespace atl::agent::machine
