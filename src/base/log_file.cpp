#include "base/log_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "base/fs.h"

namespace atl {
namespace {

constexpr std::size_t kChunkBytes = 256 * 1024;

// The first byte after the first line's end at or behind `from`; `end` where there is none near.
std::int64_t line_start(int fd, std::int64_t from, std::int64_t end) {
  if (from <= 0) return 0;
  std::string bytes(kChunkBytes, '\0');
  const ssize_t n = ::pread(fd, bytes.data(), bytes.size(), from - 1);
  const auto newline = n > 0 ? bytes.substr(0, static_cast<std::size_t>(n)).find('\n') : std::string::npos;
  return newline == std::string::npos ? end : from + static_cast<std::int64_t>(newline);
}

Status copy_range(int from_fd, int to_fd, std::int64_t at, std::int64_t end) {
  std::string bytes(kChunkBytes, '\0');
  while (at < end) {
    const auto want = std::min<std::int64_t>(end - at, static_cast<std::int64_t>(bytes.size()));
    const ssize_t n = ::pread(from_fd, bytes.data(), static_cast<std::size_t>(want), at);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return os_error("read", "log");
    if (n == 0) return ok();
    for (ssize_t done = 0; done < n;) {
      const ssize_t written = ::write(to_fd, bytes.data() + done, static_cast<std::size_t>(n - done));
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) return os_error("write", "log");
      done += written;
    }
    at += n;
  }
  return ok();
}

Status copy_aside(int fd, const std::string& path, std::int64_t from, std::int64_t end) {
  const std::string aside = path + ".1", fresh = path + ".new";
  ::unlink(fresh.c_str());
  TRY(const UniqueFd out, open_fd(fresh, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0640));
  const Status copied = copy_range(fd, out.get(), from, end);
  if (copied.ok() && ::rename(fresh.c_str(), aside.c_str()) == 0) return ok();
  const Status failed = copied.ok() ? Status(os_error("rename", fresh)) : copied;
  ::unlink(fresh.c_str());
  return failed;
}

}  // namespace

Status put_log_aside(const std::string& path, std::int64_t bytes_max) {
  struct stat info{};
  if (::lstat(path.c_str(), &info) != 0) return errno == ENOENT ? ok() : Status(os_error("stat", path));
  if (!S_ISREG(info.st_mode) || info.st_size <= bytes_max) return ok();
  if (::rename(path.c_str(), (path + ".1").c_str()) != 0) return os_error("rename", path);
  return ok();
}

Result<bool> cap_log(const std::string& path, std::int64_t bytes_max) {
  auto fd = open_fd(path, O_RDWR | O_NOFOLLOW | O_NONBLOCK, 0);
  if (!fd.ok()) {
    if (fd.error().code == Errc::not_found) return false;
    return fd.error();
  }
  struct stat info{};
  if (::fstat(fd->get(), &info) != 0) return os_error("stat", path);
  if (!S_ISREG(info.st_mode) || info.st_size <= bytes_max) return false;
  const std::int64_t end = info.st_size;
  const Status copied = copy_aside(fd->get(), path, line_start(fd->get(), end - bytes_max, end), end);
  // Emptied also where the copy failed: a full disk is the worst time for a log without end.
  if (::ftruncate(fd->get(), 0) != 0) return os_error("truncate", path);
  if (!copied.ok()) return copied.error();
  return true;
}

}  // namespace atl
