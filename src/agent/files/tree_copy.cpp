#include "agent/files/tree_copy.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "agent/files/tree_ops.h"
#include "base/crypto.h"
#include "fmt/format.h"

namespace atl::agent {
namespace {

constexpr int kSafe = O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;

void copy_attributes(int from, int to) {
  std::string names(64 * 1024, '\0');
  const ssize_t length = ::flistxattr(from, names.data(), names.size());
  if (length <= 0) return;
  std::string_view left(names.data(), static_cast<std::size_t>(length));
  while (!left.empty()) {
    const std::string name(left.substr(0, left.find('\0')));
    left.remove_prefix(std::min(name.size() + 1, left.size()));
    if (!name.starts_with("user.")) continue;
    char value[64 * 1024];
    const ssize_t size = ::fgetxattr(from, name.c_str(), value, sizeof value);
    // A target that keeps no attributes gets the file without them, as mv does it.
    if (size >= 0) (void)::fsetxattr(to, name.c_str(), value, static_cast<std::size_t>(size), 0);
  }
}

Status finish_open(int from, int to, const struct stat& st) {
  copy_attributes(from, to);
  const struct timespec times[2] = {st.st_atim, st.st_mtim};
  if (::fchown(to, st.st_uid, st.st_gid) != 0) return os_error("chown", "");
  if (::fchmod(to, st.st_mode & 07777) != 0) return os_error("chmod", "");
  if (::futimens(to, times) != 0) return os_error("utimens", "");
  return ok();
}

Status copy_entry(int from_folder, const std::string& from_name, int to_folder, const std::string& to_name,
                  unsigned depth);

Status copy_file(int from_folder, const std::string& from_name, int to_folder, const std::string& to_name) {
  UniqueFd from(::openat(from_folder, from_name.c_str(), O_RDONLY | kSafe));
  if (!from.valid()) return os_error("open", from_name);
  struct stat st = {};
  if (::fstat(from.get(), &st) != 0) return os_error("fstat", from_name);
  if (!S_ISREG(st.st_mode)) return os_error("open", from_name, EINVAL);
  UniqueFd to(::openat(to_folder, to_name.c_str(), O_WRONLY | O_CREAT | O_EXCL | kSafe, 0600));
  if (!to.valid()) return os_error("create", to_name);
  CHECK_OK(copy_bytes(from.get(), to.get()));
  return finish_open(from.get(), to.get(), st);
}

Status copy_folder(int from_folder, const std::string& from_name, int to_folder, const std::string& to_name,
                   unsigned depth) {
  if (depth > kTreeDepthMax)
    return make_error(Errc::exhausted,
                      fmt::format("folders more than {} levels deep cannot be moved to another file "
                                  "system",
                                  kTreeDepthMax));
  UniqueFd from(::openat(from_folder, from_name.c_str(), O_RDONLY | O_DIRECTORY | kSafe));
  if (!from.valid()) return os_error("open", from_name);
  struct stat st = {};
  if (::fstat(from.get(), &st) != 0) return os_error("fstat", from_name);
  if (::mkdirat(to_folder, to_name.c_str(), 0700) != 0) return os_error("mkdir", to_name);
  UniqueFd to(::openat(to_folder, to_name.c_str(), O_RDONLY | O_DIRECTORY | kSafe));
  if (!to.valid()) return os_error("open", to_name);
  TRY(auto names, names_in(from.get(), SIZE_MAX));
  for (const auto& name : names) CHECK_OK(copy_entry(from.get(), name, to.get(), name, depth + 1));
  return finish_open(from.get(), to.get(), st);
}

Status copy_link(int from_folder, const std::string& from_name, int to_folder, const std::string& to_name,
                 const struct stat& st) {
  char text[4097];
  const ssize_t length = ::readlinkat(from_folder, from_name.c_str(), text, sizeof text - 1);
  if (length < 0) return os_error("readlink", from_name);
  text[length] = '\0';
  if (::symlinkat(text, to_folder, to_name.c_str()) != 0) return os_error("symlink", to_name);
  if (::fchownat(to_folder, to_name.c_str(), st.st_uid, st.st_gid, AT_SYMLINK_NOFOLLOW) != 0)
    return os_error("chown", to_name);
  return ok();
}

Status copy_entry(int from_folder, const std::string& from_name, int to_folder, const std::string& to_name,
                  unsigned depth) {
  struct stat st = {};
  if (::fstatat(from_folder, from_name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0)
    return os_error("stat", from_name);
  if (S_ISDIR(st.st_mode)) return copy_folder(from_folder, from_name, to_folder, to_name, depth);
  if (S_ISREG(st.st_mode)) return copy_file(from_folder, from_name, to_folder, to_name);
  if (S_ISLNK(st.st_mode)) return copy_link(from_folder, from_name, to_folder, to_name, st);
  if (S_ISSOCK(st.st_mode)) return ok();  // means nothing without the program that listens on it
  if (::mknodat(to_folder, to_name.c_str(), st.st_mode, st.st_rdev) != 0) return os_error("mknod", to_name);
  if (::fchownat(to_folder, to_name.c_str(), st.st_uid, st.st_gid, AT_SYMLINK_NOFOLLOW) != 0)
    return os_error("chown", to_name);
  return ok();
}

Status copy_by_hand(int from, int to) {
  std::string buffer(1u << 20, '\0');
  for (;;) {
    const ssize_t got = ::read(from, buffer.data(), buffer.size());
    if (got == 0) return ok();
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return os_error("read", "");
    for (ssize_t done = 0; done < got;) {
      const ssize_t put = ::write(to, buffer.data() + done, static_cast<std::size_t>(got - done));
      if (put < 0 && errno != EINTR) return os_error("write", "");
      if (put > 0) done += put;
    }
  }
}

}  // namespace

Status copy_bytes(int from, int to) {
  struct stat st = {};
  // procfs and its like say 0 and copy_file_range then copies nothing.
  if (::fstat(from, &st) != 0 || st.st_size == 0) return copy_by_hand(from, to);
  for (;;) {
    const ssize_t got = ::copy_file_range(from, nullptr, to, nullptr, 64u << 20, 0);
    if (got == 0) return ok();
    if (got > 0 || errno == EINTR) continue;
    if (errno == ENOSPC || errno == EDQUOT || errno == EIO) return os_error("copy", "");
    // Not for these two file systems, or not by this kernel: the offsets are where it stopped.
    return copy_by_hand(from, to);
  }
}

// Under a name of its own first, then renamed, so that a destination is replaced only by a whole.
Status copy_tree(int from_folder, const std::string& from_name, int to_folder, const std::string& to_name) {
  const std::string temporary = ".atoll-move-" + random_hex(8);
  auto copied = copy_entry(from_folder, from_name, to_folder, temporary, 1);
  struct stat st = {};
  const bool there = ::fstatat(to_folder, temporary.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0;
  if (copied.ok() && there && ::renameat(to_folder, temporary.c_str(), to_folder, to_name.c_str()) != 0)
    copied = os_error("rename", to_name);
  if (!copied.ok() && there) (void)remove_in(to_folder, temporary);
  return copied;
}

}  // namespace atl::agent
