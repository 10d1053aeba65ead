#include "cli/host_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <memory>

#include "base/crypto.h"
#include "base/fs.h"

namespace atl::cli {
namespace {

using Dir = std::unique_ptr<DIR, int (*)(DIR*)>;

Result<std::string> link_target(int folder, const std::string& name) {
  std::string target(4096, '\0');
  const ssize_t n = ::readlinkat(folder, name.c_str(), target.data(), target.size());
  if (n < 0) return os_error("readlink", name);
  target.resize(n);
  return target;
}

Result<HostEntry> describe(int folder, const std::string& name, const std::string& path) {
  struct stat info {};
  if (::fstatat(folder, name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) return os_error("stat", path);
  HostEntry entry;
  entry.path = path;
  entry.mode = info.st_mode & 07777;
  if (S_ISDIR(info.st_mode)) entry.kind = HostEntry::Kind::directory;
  else if (S_ISREG(info.st_mode)) entry.kind = HostEntry::Kind::file;
  else if (S_ISLNK(info.st_mode)) entry.kind = HostEntry::Kind::link;
  else entry.kind = HostEntry::Kind::other;
  if (entry.kind == HostEntry::Kind::file) entry.bytes = info.st_size;
  if (entry.kind == HostEntry::Kind::link) {
    TRY(entry.target, link_target(folder, name));
  }
  return entry;
}

Status scan_folder(std::vector<HostEntry>& out, UniqueFd folder, const std::string& path, int depth) {
  if (depth > kTreeDepthMax)
    return make_error(Errc::too_large, path + ": folders nested deeper than " + std::to_string(kTreeDepthMax));
  Dir dir(::fdopendir(folder.get()), ::closedir);
  if (!dir) return os_error("fdopendir", path);
  const int fd = folder.release();  // closedir closes it
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(dir.get())) {
    std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(std::move(name));
  }
  std::sort(names.begin(), names.end());
  for (const std::string& name : names) {
    const std::string below = path.empty() ? name : path + "/" + name;
    TRY(HostEntry entry, describe(fd, name, below));
    if (out.size() >= kTreeEntriesMax)
      return make_error(Errc::too_large, "more than " + std::to_string(kTreeEntriesMax) + " files in one copy");
    const bool is_directory = entry.kind == HostEntry::Kind::directory;
    out.push_back(std::move(entry));
    if (!is_directory) continue;
    UniqueFd child(::openat(fd, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!child.valid()) return os_error("open", below);
    CHECK_OK(scan_folder(out, std::move(child), below, depth + 1));
  }
  return ok();
}

}  // namespace

Result<std::vector<HostEntry>> scan_tree(const std::string& root) {
  TRY(UniqueFd folder, open_fd(root, O_RDONLY | O_DIRECTORY));
  struct stat info {};
  if (::fstat(folder.get(), &info) != 0) return os_error("stat", root);
  std::vector<HostEntry> entries;
  HostEntry top;
  top.kind = HostEntry::Kind::directory;
  top.mode = info.st_mode & 07777;
  entries.push_back(std::move(top));
  CHECK_OK(scan_folder(entries, std::move(folder), "", 0));
  return entries;
}

Result<NewFile> NewFile::create(int folder, const std::string& name, unsigned mode) {
  UniqueFd own_folder(::fcntl(folder, F_DUPFD_CLOEXEC, 3));
  if (!own_folder.valid()) return os_error("dup", "folder");
  // Not made of `name`, which may be 255 bytes long already.
  std::string temporary = ".atoll-" + random_hex(8);
  UniqueFd fd(::openat(folder, temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode & 0777));
  if (!fd.valid()) return os_error("create a file beside", name);
  return NewFile(std::move(own_folder), std::move(fd), std::move(temporary), name);
}

NewFile::~NewFile() {
  if (!temporary_.empty() && folder_.valid()) ::unlinkat(folder_.get(), temporary_.c_str(), 0);
}

Status NewFile::write(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd_.get(), bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return os_error("write", name_);
    bytes.remove_prefix(n);
  }
  return ok();
}

Status NewFile::commit() {
  if (::renameat(folder_.get(), temporary_.c_str(), folder_.get(), name_.c_str()) != 0) return os_error("rename to", name_);
  temporary_.clear();
  return ok();
}

Status make_link(int folder, const std::string& name, const std::string& target) {
  const std::string temporary = ".atoll-" + random_hex(8);
  if (::symlinkat(target.c_str(), folder, temporary.c_str()) != 0) return os_error("make a link beside", name);
  if (::renameat(folder, temporary.c_str(), folder, name.c_str()) == 0) return ok();
  const Error error = os_error("rename a link to", name);
  ::unlinkat(folder, temporary.c_str(), 0);
  return error;
}

Result<UniqueFd> open_or_make_folder(int folder, const std::string& name) {
  if (::mkdirat(folder, name.c_str(), 0777) != 0 && errno != EEXIST) return os_error("mkdir", name);
  UniqueFd fd(::openat(folder, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd.valid()) return os_error("open folder", name);
  return fd;
}

}  // namespace atl::cli
