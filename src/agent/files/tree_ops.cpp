#include "agent/files/tree_ops.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

#include "agent/files/entry_info.h"
#include "agent/files/guest_path.h"
#include "agent/files/tree_copy.h"
#include "fmt/format.h"

namespace atl::agent {
namespace {

constexpr int kListable = O_RDONLY | O_DIRECTORY;

Error too_deep(const std::string& path) {
  return make_error(Errc::exhausted,
                    fmt::format("'{}' holds folders more than {} levels deep; name a deeper folder",
                                utf8_text(path), kTreeDepthMax));
}

Result<UniqueFd> open_listable(int folder, const std::string& name) {
  UniqueFd fd(::openat(folder, name.c_str(), kListable | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK));
  if (!fd.valid()) return os_error("open", utf8_text(name));
  return fd;
}

// Removes one entry of a folder and all below it.
Status remove_below(int folder, const std::string& name, unsigned depth) {
  if (::unlinkat(folder, name.c_str(), 0) == 0 || errno == ENOENT) return ok();
  if (errno != EISDIR && errno != EPERM) return os_error("unlink", utf8_text(name));
  if (depth > kTreeDepthMax) return too_deep(name);
  struct stat st = {};
  if (::fstatat(folder, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) return ok();
  if (!S_ISDIR(st.st_mode)) return os_error("unlink", utf8_text(name), EPERM);
  // A program inside may add entries meanwhile; a few rounds, then the folder's own ENOTEMPTY.
  for (int round = 0; round < 3; ++round) {
    TRY(UniqueFd fd, open_listable(folder, name));
    TRY(auto names, names_in(fd.get(), SIZE_MAX));
    for (const auto& entry : names) CHECK_OK(remove_below(fd.get(), entry, depth + 1));
    if (::unlinkat(folder, name.c_str(), AT_REMOVEDIR) == 0 || errno == ENOENT) return ok();
    if (errno != ENOTEMPTY && errno != EEXIST) break;
  }
  return os_error("rmdir", utf8_text(name));
}

struct Listing {
  const Users& users;
  const WalkOptions& options;
  std::vector<filesystem::EntryInfo> entries;
};

Status list_below(Listing& listing, int folder, const std::string& real_folder, const std::string& shown,
                  std::uint32_t depth, unsigned level) {
  if (level > kTreeDepthMax) return too_deep(shown);
  TRY(auto names, names_in(folder, kListEntriesMax));
  for (const auto& name : names) {
    struct stat st = {};
    if (::fstatat(folder, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) continue;  // gone meanwhile
    if (listing.entries.size() >= kListEntriesMax)
      return make_error(Errc::exhausted,
                        fmt::format("'{}' has more than {} entries; list a smaller folder or depth",
                                    utf8_text(shown), kListEntriesMax));
    const std::string path = join_path(shown, name);
    listing.entries.push_back(entry_in(folder, real_folder, name, st, path, listing.users, listing.options));
    if (!S_ISDIR(st.st_mode) || depth <= 1) continue;
    auto fd = open_listable(folder, name);
    if (fd.ok())
      CHECK_OK(list_below(listing, fd->get(), join_path(real_folder, name), path, depth - 1, level + 1));
  }
  return ok();
}

Result<Spot> source_of_move(const std::string& source, const WalkOptions& options) {
  WalkOptions plain = options;
  plain.follow_last = false;
  plain.make_parents.reset();
  auto spot = walk(source, plain);
  if (is_missing(spot))
    return make_error(Errc::not_found, fmt::format("source file not found: {}", utf8_text(source)));
  return spot;
}

}  // namespace

Result<std::vector<std::string>> names_in(int folder, std::size_t count_max) {
  const int copy = ::fcntl(folder, F_DUPFD_CLOEXEC, 0);
  DIR* dir = copy < 0 ? nullptr : ::fdopendir(copy);
  if (!dir) {
    const Error error = os_error("opendir", "");
    if (copy >= 0) ::close(copy);
    return error;
  }
  std::vector<std::string> names;
  errno = 0;
  while (const dirent* entry = ::readdir(dir)) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
    if (names.size() > count_max) break;
  }
  const int failure = errno;
  ::closedir(dir);
  if (names.size() > count_max)
    return make_error(Errc::exhausted, fmt::format("a folder has more than {} entries", count_max));
  if (failure != 0) return os_error("readdir", "", failure);
  std::sort(names.begin(), names.end());
  return names;
}

Status make_dir(const std::string& path, WalkOptions options, Owner owner) {
  options.make_parents = owner;
  TRY(Spot spot, walk(path, options));
  if (spot.is_dir())
    return make_error(Errc::exists, fmt::format("directory already exists: {}", utf8_text(path)));
  if (spot.exists())
    return make_error(Errc::invalid,
                      fmt::format("path already exists but it is not a directory: {}", utf8_text(path)));
  CHECK_OK(spot.may_change_entry());
  if (::mkdirat(spot.dir.get(), spot.name.c_str(), 0755) != 0) return os_error("mkdir", utf8_text(path));
  TRY(UniqueFd made, open_spot(spot, kListable));
  if (::fchown(made.get(), owner.uid, owner.gid) != 0) return os_error("chown", utf8_text(path));
  return ok();
}

Status move_entry(const std::string& source, const std::string& destination, WalkOptions options,
                  Owner owner) {
  TRY(Spot from, source_of_move(source, options));
  CHECK_OK(from.may_change_entry());
  options.follow_last = false;
  options.make_parents = owner;
  TRY(Spot to, walk(destination, options));
  CHECK_OK(to.may_change_entry());
  if (from.name == "." || to.name == ".")
    return make_error(Errc::invalid,
                      fmt::format("'{}' or '{}' is a folder's own '.'; name it by its parent's entry",
                                  utf8_text(source), utf8_text(destination)));
  if (::renameat(from.dir.get(), from.name.c_str(), to.dir.get(), to.name.c_str()) == 0) return ok();
  if (errno != EXDEV)
    return os_error("rename", fmt::format("{} to {}", utf8_text(source), utf8_text(destination)));
  CHECK_OK(copy_tree(from.dir.get(), from.name, to.dir.get(), to.name));
  return remove_below(from.dir.get(), from.name, 1);
}

Status remove_in(int folder, const std::string& name) {
  return remove_below(folder, name, 1);
}

Status remove_entry(const std::string& path, const WalkOptions& options) {
  WalkOptions plain = options;
  plain.follow_last = false;
  auto walked = walk(path, plain);
  if (is_missing(walked)) return ok();
  if (!walked.ok()) return std::move(walked).error();
  if (walked->name == ".")
    return make_error(
        Errc::invalid,
        fmt::format("'{}' cannot be removed: name a folder's entry, not '/' , '.' or '..'", utf8_text(path)));
  CHECK_OK(walked->may_change_entry());
  auto removed = remove_below(walked->dir.get(), walked->name, 1);
  if (removed.ok()) return removed;
  return with_context(std::move(removed).error(), fmt::format("remove '{}'", utf8_text(path)));
}

Result<std::vector<filesystem::EntryInfo>> list_dir(const std::string& path, std::uint32_t depth,
                                                    const Users& users, const WalkOptions& options) {
  auto walked = walk(path, options);
  if (is_missing(walked))
    return make_error(Errc::not_found, fmt::format("path not found: {}", utf8_text(path)));
  TRY(Spot spot, std::move(walked));
  if (!spot.is_dir())
    return make_error(Errc::invalid, fmt::format("path is not a directory: {}", utf8_text(path)));
  CHECK_OK(spot.may(*spot.stat, kMayRead));
  TRY(UniqueFd fd, open_spot(spot, kListable));
  Listing listing{users, options, {}};
  CHECK_OK(list_below(listing, fd.get(), spot.real_path, path, std::max(depth, 1u), 1));
  return std::move(listing.entries);
}

}  // namespace atl::agent
