#include "agent/files/watch_tree.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cstring>

#include "agent/files/guest_path.h"
#include "agent/files/tree_ops.h"
#include "fmt/format.h"

namespace atl::agent {
namespace {

constexpr std::uint32_t kMask = IN_CREATE | IN_DELETE | IN_MODIFY | IN_ATTRIB | IN_MOVED_FROM | IN_MOVED_TO |
                                IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR;
constexpr int kFolder = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
constexpr std::size_t kReadBytes = 64 * 1024;

// Changes made by other machines raise no event there.
bool network_type(long type) {
  constexpr std::uint32_t kTypes[] = {NFS_SUPER_MAGIC,  SMB_SUPER_MAGIC,  CIFS_SUPER_MAGIC, SMB2_SUPER_MAGIC,
                                      CEPH_SUPER_MAGIC, CODA_SUPER_MAGIC, AFS_SUPER_MAGIC,  FUSE_SUPER_MAGIC};
  for (std::uint32_t known : kTypes)
    if (static_cast<std::uint32_t>(type) == known) return true;
  return false;
}

// Made by the kernel as it is looked at: nothing there raises an event, and it is endless. `parent_dev`
// saves the question where no file system begins.
bool kernels_own(int folder, dev_t dev, dev_t parent_dev) {
  struct statfs fs = {};
  if (dev == parent_dev || ::fstatfs(folder, &fs) != 0) return false;
  constexpr std::uint32_t kTypes[] = {PROC_SUPER_MAGIC,    SYSFS_MAGIC,   CGROUP_SUPER_MAGIC,
                                      CGROUP2_SUPER_MAGIC, DEBUGFS_MAGIC, TRACEFS_MAGIC};
  for (std::uint32_t known : kTypes)
    if (static_cast<std::uint32_t>(fs.f_type) == known) return true;
  return false;
}

std::string below(const std::string& folder, std::string_view name) {
  return folder.empty() ? std::string(name) : folder + "/" + std::string(name);
}

}  // namespace

Result<std::unique_ptr<WatchTree>> WatchTree::open(const std::string& path, bool recursive,
                                                   bool allow_network, const WalkOptions& options,
                                                   WatchLimits limits) {
  auto walked = walk(path, options);
  if (is_missing(walked))
    return make_error(Errc::not_found, fmt::format("path {} not found", utf8_text(path)));
  TRY(Spot spot, std::move(walked));
  if (!spot.is_dir())
    return make_error(Errc::invalid, fmt::format("path {} not a directory", utf8_text(path)));
  CHECK_OK(spot.may(*spot.stat, kMayRead));
  TRY(UniqueFd root, open_spot(spot, O_RDONLY | O_DIRECTORY));
  struct statfs fs = {};
  if (::fstatfs(root.get(), &fs) != 0) return os_error("statfs", utf8_text(path));
  if (network_type(fs.f_type) && !allow_network)
    return make_error(Errc::invalid,
                      fmt::format("cannot watch path on network filesystem: {}; changes made elsewhere "
                                  "raise no event (allow_network_mounts watches all the same)",
                                  utf8_text(path)));
  UniqueFd inotify(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  if (!inotify.valid()) return os_error("inotify_init1", "fs.inotify.max_user_instances");
  struct stat st = {};
  if (::fstat(root.get(), &st) != 0) return os_error("fstat", utf8_text(path));
  std::unique_ptr<WatchTree> tree(new WatchTree(std::move(inotify), spot.real_path, st, recursive, limits));
  CHECK_OK(tree->add(root.get(), ""));
  if (recursive) CHECK_OK(tree->scan(root.get(), "", nullptr, 1));
  return tree;
}

// By the descriptor's name in procfs, so that no folder swapped for a link is watched instead.
Status WatchTree::add(int folder, const std::string& name) {
  if (name_of_.size() >= limits_.folders_max)
    return make_error(Errc::exhausted,
                      fmt::format("more than {} folders below the watched one; watch a smaller folder, "
                                  "or not recursively",
                                  limits_.folders_max));
  const std::string path = fmt::format("/proc/self/fd/{}", folder);
  const int watch = ::inotify_add_watch(inotify_.get(), path.c_str(), kMask);
  if (watch < 0 && errno == ENOSPC)
    return make_error(Errc::exhausted,
                      "the kernel's bound on watches (fs.inotify.max_user_watches) is reached");
  if (watch < 0) return os_error("inotify_add_watch", utf8_text(name.empty() ? "." : name));
  // The same folder under a new name: it was moved while we looked.
  if (const auto known = name_of_.find(watch); known != name_of_.end()) watch_of_.erase(known->second);
  name_of_[watch] = name;
  watch_of_[name] = watch;
  return ok();
}

// Watches every folder below; each before its content is read, so that no change falls between.
Status WatchTree::scan(int folder, const std::string& name, std::vector<Change>* announced, unsigned depth) {
  if (depth > kTreeDepthMax)
    return make_error(Errc::exhausted,
                      fmt::format("folders more than {} levels below the watched one", kTreeDepthMax));
  struct stat own = {};
  if (::fstat(folder, &own) != 0) return os_error("fstat", utf8_text(name));
  auto names = names_in(folder, kListEntriesMax);
  if (!names.ok()) return names.error().code == Errc::exhausted ? Status(names.error()) : ok();
  for (const auto& entry : *names) {
    struct stat st = {};
    if (::fstatat(folder, entry.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) continue;
    const std::string full = below(name, entry);
    if (announced) {
      announced->push_back({full, filesystem::EVENT_TYPE_CREATE});
      announced_.insert(full);
    }
    if (!S_ISDIR(st.st_mode)) continue;
    UniqueFd fd(::openat(folder, entry.c_str(), kFolder));
    if (!fd.valid()) continue;  // gone or swapped: its own event comes
    if (kernels_own(fd.get(), st.st_dev, own.st_dev)) continue;
    CHECK_OK(add(fd.get(), full));
    CHECK_OK(scan(fd.get(), full, announced, depth + 1));
  }
  return ok();
}

Result<UniqueFd> WatchTree::open_below(const std::string& name) const {
  WalkOptions plain;
  plain.follow_last = false;
  TRY(Spot root, walk(root_, plain));
  TRY(UniqueFd at, open_spot(root, O_RDONLY | O_DIRECTORY));
  struct stat st = {};
  if (::fstat(at.get(), &st) != 0 || st.st_ino != root_stat_.st_ino || st.st_dev != root_stat_.st_dev)
    return os_error("open", utf8_text(root_), ESTALE);  // the watched folder has another name by now
  std::string_view left = name;
  while (!left.empty()) {
    const std::string part(left.substr(0, left.find('/')));
    left.remove_prefix(std::min(part.size() + 1, left.size()));
    UniqueFd next(::openat(at.get(), part.c_str(), kFolder));
    if (!next.valid()) return os_error("open", utf8_text(name));
    at = std::move(next);
  }
  return at;
}

Status WatchTree::enter_new_folder(const std::string& name, std::vector<Change>& changes) {
  if (watch_of_.contains(name)) return ok();  // a scan came by before this event did
  auto fd = open_below(name);
  if (!fd.ok()) return ok();  // gone already; its removal is in the queue
  CHECK_OK(add(fd->get(), name));
  return scan(fd->get(), name, &changes, 1);
}

void WatchTree::forget_below(const std::string& name) {
  const std::string prefix = name + "/";
  for (auto it = watch_of_.begin(); it != watch_of_.end();) {
    if (it->first != name && !it->first.starts_with(prefix)) {
      ++it;
      continue;
    }
    ::inotify_rm_watch(inotify_.get(), it->second);
    name_of_.erase(it->second);
    it = watch_of_.erase(it);
  }
}

void WatchTree::emit(std::uint32_t mask, const std::string& name, std::vector<Change>& changes) {
  constexpr std::pair<std::uint32_t, filesystem::EventType> kOrder[] = {
      {IN_CREATE | IN_MOVED_TO, filesystem::EVENT_TYPE_CREATE},
      {IN_MOVED_FROM | IN_MOVE_SELF, filesystem::EVENT_TYPE_RENAME},
      {IN_ATTRIB, filesystem::EVENT_TYPE_CHMOD},
      {IN_MODIFY, filesystem::EVENT_TYPE_WRITE},
      {IN_DELETE | IN_DELETE_SELF, filesystem::EVENT_TYPE_REMOVE}};
  for (const auto& [bits, type] : kOrder) {
    if (!(mask & bits)) continue;
    const bool was_announced = announced_.erase(name) > 0;
    if (type == filesystem::EVENT_TYPE_CREATE && was_announced) continue;
    if (type != filesystem::EVENT_TYPE_CREATE && type != filesystem::EVENT_TYPE_REMOVE && was_announced)
      announced_.insert(name);
    changes.push_back({name, type});
  }
}

Status WatchTree::take(const inotify_event& event, const char* file_name, std::vector<Change>& changes) {
  if (event.mask & IN_Q_OVERFLOW)
    return make_error(Errc::exhausted,
                      "changes came faster than they were read and the kernel dropped some "
                      "(fs.inotify.max_queued_events); list the folder and watch it anew");
  const auto folder = name_of_.find(event.wd);
  if (folder == name_of_.end()) return ok();  // of a folder that was moved away or removed
  if (event.mask & IN_IGNORED) {
    watch_of_.erase(folder->second);
    name_of_.erase(folder);
    return ok();
  }
  if (event.len == 0) {  // of the folder itself; its parent's watch tells it for all but the root
    if (folder->second.empty()) emit(event.mask, ".", changes);
    return ok();
  }
  const std::string name = below(folder->second, file_name);
  emit(event.mask, name, changes);
  if (!recursive_ || !(event.mask & IN_ISDIR)) return ok();
  if (event.mask & (IN_MOVED_FROM | IN_DELETE)) forget_below(name);
  if (event.mask & (IN_CREATE | IN_MOVED_TO)) return enter_new_folder(name, changes);
  return ok();
}

Result<std::vector<WatchTree::Change>> WatchTree::read_changes() {
  alignas(inotify_event) char buffer[kReadBytes];
  std::vector<Change> changes;
  const ssize_t got = ::read(inotify_.get(), buffer, sizeof buffer);
  if (got < 0 && errno != EAGAIN && errno != EINTR) return os_error("read", "inotify");
  for (ssize_t at = 0; at < got;) {
    inotify_event event;
    std::memcpy(&event, buffer + at, sizeof event);
    CHECK_OK(take(event, buffer + at + sizeof event, changes));
    at += static_cast<ssize_t>(sizeof event + event.len);
  }
  // An empty queue holds no event for anything a scan has announced. (An event of 272 bytes may not
  // have fitted, so only a read that finds nothing tells it.)
  if (got < 0 && errno == EAGAIN) announced_.clear();
  return changes;
}

}  // namespace atl::agent
