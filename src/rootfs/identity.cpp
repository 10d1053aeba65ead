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

// A folder of the root, without following the template's links. Not valid where there is none.
Result<UniqueFd> open_folder(const std::string& root, const char* name) {
  TRY(const UniqueFd top, open_fd(root, O_PATH | O_DIRECTORY));
  struct open_how how {};
  how.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV;
  UniqueFd folder(static_cast<int>(::syscall(SYS_openat2, top.get(), name, &how, sizeof how)));
  if (!folder.valid() && errno != ENOENT && errno != ELOOP && errno != ENOTDIR)
    return os_error("openat2", root + "/" + name);
  return folder;
}

}  // namespace

Status write_identity(const std::string& root, const std::string& hostname, std::uint32_t uid_base) {
  TRY(const UniqueFd etc, open_folder(root, "etc"));
  if (!etc.valid()) return ok();
  const std::string hosts =
      "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.1.1\t" + hostname + "\n";
  CHECK_OK(replace(etc.get(), "hosts", hosts, uid_base));
  CHECK_OK(replace(etc.get(), "hostname", hostname + "\n", uid_base));
  struct stat info {};
  if (::fstatat(etc.get(), "machine-id", &info, AT_SYMLINK_NOFOLLOW) != 0) return ok();
  return replace(etc.get(), "machine-id", random_hex(16) + "\n", uid_base);
}

Status fill_tmp(const std::string& root, std::uint32_t uid_base) {
  constexpr char kName[] = ".X11-unix";
  TRY(const UniqueFd tmp, open_folder(root, "tmp"));
  if (!tmp.valid() || (::mkdirat(tmp.get(), kName, 01777) != 0 && errno == EEXIST)) return ok();
  if (::fchownat(tmp.get(), kName, uid_base, uid_base, AT_SYMLINK_NOFOLLOW) != 0) return os_error("chown", kName);
  if (::fchmodat(tmp.get(), kName, 01777, 0) != 0) return os_error("chmod", kName);
  return ok();
}

}  // namespace atl::rootfs
