#include "agent/files/file_open.h"

#include <fcntl.h>
#include <unistd.h>

#include "agent/files/guest_path.h"
#include "fmt/format.h"

namespace atl::agent {
namespace {

std::string_view kind_of(mode_t mode) {
  switch (mode & S_IFMT) {
    case S_IFDIR:
      return "a directory";
    case S_IFIFO:
      return "a named pipe";
    case S_IFSOCK:
      return "a socket";
    case S_IFBLK:
    case S_IFCHR:
      return "a device";
    case S_IFLNK:
      return "a symbolic link";
    default:
      return "not a regular file";
  }
}

Status require_regular(const std::string& path, mode_t mode) {
  if (S_ISREG(mode)) return ok();
  const std::string shown = utf8_text(path);
  if (S_ISDIR(mode)) return make_error(Errc::invalid, fmt::format("path is a directory: {}", shown));
  return make_error(Errc::invalid, fmt::format("'{}' is {}; only regular files can be read and written",
                                               shown, kind_of(mode)));
}

Result<OpenFile> opened(const std::string& path, const Spot& spot, UniqueFd fd, unsigned wanted) {
  OpenFile file{std::move(fd), {}, spot.real_path};
  if (::fstat(file.fd.get(), &file.stat) != 0) return os_error("fstat", path);
  CHECK_OK(require_regular(path, file.stat.st_mode));
  // Of what is open, not of what was looked at before.
  CHECK_OK(spot.may(file.stat, wanted));
  return file;
}

Result<OpenFile> read_once(const std::string& path, const WalkOptions& options) {
  auto walked = walk(path, options);
  if (is_missing(walked))
    return make_error(Errc::not_found, fmt::format("path '{}' does not exist", utf8_text(path)));
  TRY(Spot spot, std::move(walked));
  CHECK_OK(require_regular(path, spot.stat->st_mode));
  TRY(UniqueFd fd, open_spot(spot, O_RDONLY));
  return opened(path, spot, std::move(fd), kMayRead);
}

Result<OpenFile> create(const std::string& path, const Spot& spot, Owner owner) {
  CHECK_OK(spot.may_change_entry());
  TRY(UniqueFd fd, open_spot(spot, O_WRONLY | O_CREAT | O_EXCL, 0666));
  if (::fchown(fd.get(), owner.uid, owner.gid) != 0) return os_error("chown", path);
  OpenFile file{std::move(fd), {}, spot.real_path};
  if (::fstat(file.fd.get(), &file.stat) != 0) return os_error("fstat", path);
  return file;
}

Result<OpenFile> upload_once(const std::string& path, const WalkOptions& options, Owner owner) {
  TRY(Spot spot, walk(path, options));
  if (!spot.exists()) return create(path, spot, owner);
  CHECK_OK(require_regular(path, spot.stat->st_mode));
  TRY(UniqueFd fd, open_spot(spot, O_WRONLY));
  TRY(OpenFile file, opened(path, spot, std::move(fd), kMayWrite));
  if (::fchown(file.fd.get(), owner.uid, owner.gid) != 0) return os_error("chown", path);
  if (::ftruncate(file.fd.get(), 0) != 0) return os_error("truncate", path);
  return file;
}

template <class Once>
Result<OpenFile> until_not_raced(Once once) {
  for (int attempt = 0;; ++attempt) {
    auto file = once();
    if (file.ok() || !raced(file.error()) || attempt >= kRaceAttemptsMax) return file;
  }
}

}  // namespace

Result<OpenFile> open_for_read(const std::string& path, const WalkOptions& options) {
  return until_not_raced([&] { return read_once(path, options); });
}

Result<OpenFile> open_for_upload(const std::string& path, WalkOptions options, Owner owner) {
  options.make_parents = owner;
  return until_not_raced([&] { return upload_once(path, options, owner); });
}

}  // namespace atl::agent
