#include "base/fs.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <memory>

namespace atl {
namespace {

Status write_all(int fd, std::string_view content, const std::string& path) {
  while (!content.empty()) {
    const ssize_t n = ::write(fd, content.data(), content.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return os_error("write", path);
    content.remove_prefix(n);
  }
  return ok();
}

std::string parent_of(const std::string& path) {
  const auto slash = path.rfind('/');
  return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

using Dir = std::unique_ptr<DIR, int (*)(DIR*)>;

// Below `dir_fd` by descriptor, so that a link put in place meanwhile is removed, not followed.
Status remove_at(int dir_fd, const std::string& name, dev_t device, int depth) {
  struct stat info {};
  if (::fstatat(dir_fd, name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0)
    return errno == ENOENT ? ok() : Status(os_error("stat", name));
  if (S_ISDIR(info.st_mode) && info.st_dev == device) {
    if (depth > 4096) return make_error(Errc::invalid, name + ": folders nested deeper than 4096");
    const int fd = ::openat(dir_fd, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return os_error("open", name);
    Dir dir(::fdopendir(fd), ::closedir);
    if (!dir) return os_error("fdopendir", name);
    while (const dirent* entry = ::readdir(dir.get())) {
      const std::string child = entry->d_name;
      if (child != "." && child != "..") CHECK_OK(remove_at(fd, child, device, depth + 1));
    }
  }
  if (::unlinkat(dir_fd, name.c_str(), S_ISDIR(info.st_mode) ? AT_REMOVEDIR : 0) != 0 && errno != ENOENT)
    return os_error("remove", name);
  return ok();
}

}  // namespace

Result<UniqueFd> open_fd(const std::string& path, int flags, unsigned mode) {
  UniqueFd fd(::open(path.c_str(), flags | O_CLOEXEC, mode));
  if (!fd.valid()) return os_error("open", path);
  return fd;
}

Result<std::string> read_file(const std::string& path, std::size_t bytes_max) {
  // A guest may have put a pipe or a device where a file is expected: opening never waits, and only
  // files are read (those of procfs and cgroupfs count as such).
  TRY(UniqueFd fd, open_fd(path, O_RDONLY | O_NONBLOCK | O_NOCTTY));
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return os_error("stat", path);
  if (!S_ISREG(info.st_mode)) return make_error(Errc::invalid, path + ": not a regular file");
  std::string content;
  char buffer[16384];
  for (;;) {
    const ssize_t n = ::read(fd.get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return os_error("read", path);
    if (n == 0) return content;
    content.append(buffer, n);
    if (content.size() > bytes_max)
      return make_error(Errc::too_large, path + ": larger than " + std::to_string(bytes_max) + " bytes");
  }
}

Status write_file_atomic(const std::string& path, std::string_view content, unsigned mode) {
  const std::string temporary = path + ".new";
  TRY(UniqueFd fd, open_fd(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, mode));
  CHECK_OK(write_all(fd.get(), content, temporary));
  if (::fchmod(fd.get(), mode) != 0) return os_error("chmod", temporary);
  if (::fsync(fd.get()) != 0) return os_error("fsync", temporary);
  if (::rename(temporary.c_str(), path.c_str()) != 0) return os_error("rename", path);
  TRY(UniqueFd folder, open_fd(parent_of(path), O_RDONLY | O_DIRECTORY));
  if (::fsync(folder.get()) != 0) return os_error("fsync", parent_of(path));
  return ok();
}

Status write_file(const std::string& path, std::string_view content) {
  TRY(UniqueFd fd, open_fd(path, O_WRONLY | O_TRUNC));
  return write_all(fd.get(), content, path);
}

Status make_dirs(const std::string& path, unsigned mode) {
  for (std::size_t at = 1; at <= path.size(); ++at) {
    if (at != path.size() && path[at] != '/') continue;
    if (::mkdir(path.substr(0, at).c_str(), mode) != 0 && errno != EEXIST)
      return os_error("mkdir", path.substr(0, at));
  }
  return ok();
}

Result<std::vector<std::string>> list_dir(const std::string& path) {
  Dir dir(::opendir(path.c_str()), ::closedir);
  if (!dir) return os_error("opendir", path);
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(dir.get())) {
    std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(std::move(name));
  }
  std::sort(names.begin(), names.end());
  return names;
}

Status remove_tree(const std::string& path) {
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0) return errno == ENOENT ? ok() : Status(os_error("stat", path));
  return remove_at(AT_FDCWD, path, info.st_dev, 0);
}

bool exists(const std::string& path) { return ::access(path.c_str(), F_OK) == 0; }

}  // namespace atl
