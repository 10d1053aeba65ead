#include "agent/files/entry_info.h"

#include <fcntl.h>
#include <unistd.h>

#include "agent/files/guest_path.h"
#include "agent/files/metadata.h"
#include "fmt/format.h"

namespace atl::agent {
namespace {

filesystem::FileType type_of(mode_t mode) {
  if (S_ISREG(mode)) return filesystem::FILE_TYPE_FILE;
  if (S_ISDIR(mode)) return filesystem::FILE_TYPE_DIRECTORY;
  if (S_ISLNK(mode)) return filesystem::FILE_TYPE_SYMLINK;
  return filesystem::FILE_TYPE_UNSPECIFIED;
}

void fill_metadata(const Spot& spot, filesystem::EntryInfo& entry) {
  if (!spot.stat || !S_ISREG(spot.stat->st_mode)) return;
  auto fd = open_spot(spot, O_RDONLY);
  struct stat st = {};
  if (!fd.ok() || ::fstat(fd->get(), &st) != 0 || !spot.may(st, kMayRead).ok()) return;
  for (auto& [key, value] : read_metadata(fd->get())) (*entry.mutable_metadata())[key] = value;
}

std::string link_text(const Spot& spot) {
  char text[4096];
  const ssize_t length = ::readlinkat(spot.dir.get(), spot.name.c_str(), text, sizeof text);
  if (length <= 0) return "";
  const std::string_view target(text, static_cast<std::size_t>(length));
  return target.front() == '/' ? std::string(target)
                               : clean_path(join_path(parent_name(spot.real_path), target));
}

// Type, mode and target of a link: of what it leads to, where that is there and may be looked at.
void fill_link(const Spot& spot, const WalkOptions& options, filesystem::EntryInfo& entry) {
  entry.set_is_symlink(true);
  WalkOptions following = options;
  following.follow_last = true;
  auto target = walk(spot.real_path, following);
  if (!target.ok() || !target->exists()) {
    entry.set_symlink_target(utf8_text(link_text(spot)));
    return;
  }
  entry.set_type(type_of(target->stat->st_mode));
  entry.set_mode(target->stat->st_mode & 0777);
  entry.set_symlink_target(utf8_text(target->real_path));
  fill_metadata(*target, entry);
}

}  // namespace

// The letters and their order are those of Go's io/fs.FileMode.String.
std::string go_permissions(mode_t mode) {
  std::string text;
  if (S_ISDIR(mode)) text += 'd';
  if (S_ISLNK(mode)) text += 'L';
  if (S_ISBLK(mode) || S_ISCHR(mode)) text += 'D';
  if (S_ISFIFO(mode)) text += 'p';
  if (S_ISSOCK(mode)) text += 'S';
  if (mode & S_ISUID) text += 'u';
  if (mode & S_ISGID) text += 'g';
  if (S_ISCHR(mode)) text += 'c';
  if (mode & S_ISVTX) text += 't';
  if (text.empty()) text += '-';
  for (int bit = 8; bit >= 0; --bit) text += (mode >> bit & 1) ? "xwr"[bit % 3] : '-';
  return text;
}

filesystem::EntryInfo entry_of(const Spot& spot, const std::string& path, const Users& users,
                               const WalkOptions& options) {
  filesystem::EntryInfo entry;
  if (!spot.stat) return entry;
  const struct stat& st = *spot.stat;
  entry.set_name(utf8_text(base_name(path)));
  entry.set_path(utf8_text(path));
  entry.set_type(type_of(st.st_mode));
  entry.set_size(st.st_size);
  entry.set_mode(st.st_mode & 0777);
  entry.set_permissions(go_permissions(st.st_mode));
  entry.set_owner(utf8_text(users.name_of(st.st_uid)));
  entry.set_group(utf8_text(users.group_name_of(st.st_gid)));
  entry.mutable_modified_time()->set_seconds(st.st_mtim.tv_sec);
  entry.mutable_modified_time()->set_nanos(static_cast<int>(st.st_mtim.tv_nsec));
  if (S_ISLNK(st.st_mode)) {
    fill_link(spot, options, entry);
  } else {
    fill_metadata(spot, entry);
  }
  return entry;
}

filesystem::EntryInfo entry_in(int folder, const std::string& real_folder, const std::string& name,
                               const struct stat& st, const std::string& path, const Users& users,
                               const WalkOptions& options) {
  Spot spot;
  spot.dir = UniqueFd(::fcntl(folder, F_DUPFD_CLOEXEC, 0));
  spot.name = name;
  spot.stat = st;
  spot.real_path = join_path(real_folder, name);
  return entry_of(spot, path, users, options);
}

Result<filesystem::EntryInfo> stat_entry(const std::string& path, const Users& users,
                                         const WalkOptions& options) {
  WalkOptions not_following = options;
  not_following.follow_last = false;
  auto spot = walk(path, not_following);
  if (is_missing(spot))
    return make_error(Errc::not_found, fmt::format("file not found: {}", utf8_text(path)));
  if (!spot.ok()) return std::move(spot).error();
  return entry_of(*spot, path, users, options);
}

}  // namespace atl::agent
