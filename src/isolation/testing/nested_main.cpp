// Process 1 of the machine in which the microvm tier is tested with KVM where the host has none: an
// emulated CPU with SVM (tests/nested_kvm.py). Loads the modules, mounts the disk that holds the
// tests below a tmpfs, runs /run-tests there, and powers off.
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>

#include "agent/machine/mounts.h"

namespace {

bool failed(const char* what) {
  std::printf("nested: %s: %s\n", what, std::strerror(errno));
  return false;
}

bool mount_at(const char* source, const char* target, const char* type, const char* options = nullptr) {
  ::mkdir(target, 0755);
  return ::mount(source, target, type, 0, options) == 0 || failed(target);
}

bool enter_tests() {
  for (const char* folder : {"/low", "/mem", "/new"}) ::mkdir(folder, 0755);
  // The disk appears a moment after its module was loaded.
  for (int i = 0; ::access("/dev/vda", F_OK) != 0 && i < 5'000; ++i) ::usleep(2'000);
  if (::mount("/dev/vda", "/low", "erofs", MS_RDONLY, nullptr) != 0) return failed("/dev/vda");
  if (!mount_at("mem", "/mem", "tmpfs", "size=2g")) return false;
  ::mkdir("/mem/up", 0755);
  ::mkdir("/mem/work", 0755);
  if (!mount_at("overlay", "/new", "overlay", "lowerdir=/low,upperdir=/mem/up,workdir=/mem/work")) return false;
  if (::chdir("/new") != 0 || ::mount(".", "/", nullptr, MS_MOVE, nullptr) != 0 || ::chroot(".") != 0) return failed("root");
  return mount_at("dev", "/dev", "devtmpfs") && mount_at("proc", "/proc", "proc") && mount_at("sys", "/sys", "sysfs") &&
         mount_at("groups", "/sys/fs/cgroup", "cgroup2") && mount_at("tmp", "/tmp", "tmpfs");
}

int run_tests() {
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::execl("/bin/sh", "sh", "/run-tests", nullptr);
    ::_exit(127);
  }
  int status = 0;
  for (pid_t ended = 0; ended != pid;) ended = ::waitpid(-1, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace

int main() {
  ::setvbuf(stdout, nullptr, _IONBF, 0);
  const auto files = atl::agent::machine::mount_kernel_files();
  const auto modules = files.ok() ? atl::agent::machine::load_modules() : files;
  if (!modules.ok()) std::printf("nested: %s\n", modules.error().message.c_str());
  if (enter_tests()) std::printf("nested: exit %d\n", run_tests());
  ::sync();
  ::reboot(RB_POWER_OFF);
  return 1;
}
