#include "rootfs/identity.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/crypto.h"
#include "base/fs.h"

namespace atl::rootfs {
namespace {

Status replace(int folder, const std::string& name, std::string_view content, std::uint32_t owner) {
  ::unlinkat(folder, name.c_str(), 0);
  const UniqueFd file(::openat(folder, name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644));
  if (!file.valid()) return os_error("create", "/etc/" + name);
  if (::write(file.get(), content.data(), content.size()) != static_cast<ssize_t>(content.size()))
    return os_error("write", "/etc/" + name);
  if (::fchown(file.get(), owner, owner) != 0) return os_error("chown", "/etc/" + name);
  return ok();
}

}  // namespace

Status write_identity(const std::string& root, const std::string& hostname, std::uint32_t uid_base) {
  TRY(const UniqueFd top, open_fd(root, O_PATH | O_DIRECTORY));
  struct open_how how {};
  how.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV;
  const UniqueFd etc(static_cast<int>(::syscall(SYS_openat2, top.get(), "etc", &how, sizeof how)));
  if (!etc.valid()) {
    if (errno == ENOENT || errno == ELOOP || errno == ENOTDIR) return ok();
    return os_error("openat2", root + "/etc");
  }
  CHECK_OK(replace(etc.get(), "hosts", "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.1.1\t" +
                                           hostname + "\n", uid_base));
  CHECK_OK(replace(etc.get(), "hostname", hostname + "\n", uid_base));
  struct stat info {};
  if (::fstatat(etc.get(), "machine-id", &info, AT_SYMLINK_NOFOLLOW) != 0) return ok();
  return replace(etc.get(), "machine-id", random_hex(16) + "\n", uid_base);
}

}  // namespace atl::rootfs
