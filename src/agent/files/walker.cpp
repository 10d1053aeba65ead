#include "agent/files/walker.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <deque>

#include "fmt/format.h"

namespace atl::agent {
namespace {

constexpr std::size_t kPathBytesMax = 4096;
constexpr std::size_t kPartsMax = 4096;
constexpr int kLinksMax = 40;  // as the kernel's MAXSYMLINKS
constexpr int kFolder = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

std::deque<std::string> split(std::string_view path) {
  std::deque<std::string> parts;
  while (!path.empty()) {
    const std::size_t cut = std::min(path.find('/'), path.size());
    if (cut > 0) parts.emplace_back(path.substr(0, cut));
    path.remove_prefix(std::min(cut + 1, path.size()));
  }
  return parts;
}

bool all_digits(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

std::string join(const std::vector<std::string>& parts) {
  std::string text;
  for (const auto& part : parts) text.append("/").append(part);
  return text.empty() ? "/" : text;
}

// One walk's state. `dir_` is where it stands, `real_` that place's name.
class Walk {
 public:
  Walk(std::string_view path, const WalkOptions& options)
      : path_(path), options_(options), parts_(split(path)) {}

  Result<Spot> run() {
    CHECK_OK(to_root());
    while (!parts_.empty()) {
      std::string part = std::move(parts_.front());
      parts_.pop_front();
      if (part == ".") continue;
      CHECK_OK(may_search());
      if (part == "..") {
        if (in_own_process_) return own_process();
        CHECK_OK(enter("..", nullptr));
        continue;
      }
      TRY(bool arrived, step(part));
      if (arrived) return std::move(spot_);
    }
    spot_.stat = spot_.dir_stat;
    return finish(".", false);
  }

 private:
  Result<Spot> finish(std::string name, bool named) {
    if (named) real_.push_back(name);
    spot_.name = std::move(name);
    spot_.real_path = join(real_);
    return std::move(spot_);
  }

  Status to_root() {
    UniqueFd root(::open("/", kFolder));
    if (!root.valid()) return os_error("open", "/");
    real_.clear();
    in_own_process_ = false;
    return stand_on(std::move(root));
  }

  Status stand_on(UniqueFd dir) {
    if (::fstat(dir.get(), &spot_.dir_stat) != 0) return os_error("fstat", path_);
    spot_.dir = std::move(dir);
    if (known_dev_ && *known_dev_ == spot_.dir_stat.st_dev) return ok();
    struct statfs fs = {};
    if (::fstatfs(spot_.dir.get(), &fs) != 0) return os_error("fstatfs", path_);
    known_dev_ = spot_.dir_stat.st_dev;
    on_proc_ = fs.f_type == PROC_SUPER_MAGIC;
    return ok();
  }

  Status may_search() const { return spot_.may(spot_.dir_stat, kMaySearch); }

  // True when `part` was the last: the spot is set.
  Result<bool> step(const std::string& part) {
    if (on_proc_) CHECK_OK(refuse_own_process(part));
    struct stat st = {};
    if (::fstatat(spot_.dir.get(), part.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) {
      if (errno != ENOENT) return os_error("stat", path_);
      return missing(part);
    }
    const bool last = parts_.empty();
    if (S_ISLNK(st.st_mode) && (!last || options_.follow_last)) {
      CHECK_OK(follow(part, st));
      return false;
    }
    if (last) {
      spot_.stat = st;
      TRY(spot_, finish(part, true));
      return true;
    }
    if (!S_ISDIR(st.st_mode)) return os_error("open", path_, ENOTDIR);
    CHECK_OK(enter(part, &part));
    return false;
  }

  Result<bool> missing(const std::string& part) {
    if (parts_.empty()) {
      TRY(spot_, finish(part, true));
      return true;
    }
    if (!options_.make_parents) return os_error("open", path_, ENOENT);
    CHECK_OK(spot_.may(spot_.dir_stat, kMayWrite | kMaySearch));
    const bool made = ::mkdirat(spot_.dir.get(), part.c_str(), 0755) == 0;
    if (!made && errno != EEXIST) return os_error("mkdir", path_);
    if (!made) {  // somebody else was quicker: look again
      parts_.push_front(part);
      return ++races_ > kRaceAttemptsMax ? Result<bool>(os_error("mkdir", path_, EEXIST))
                                         : Result<bool>(false);
    }
    CHECK_OK(enter(part, &part));
    const Owner& owner = *options_.make_parents;
    if (::fchownat(spot_.dir.get(), "", owner.uid, owner.gid, AT_EMPTY_PATH) != 0)
      return os_error("chown", path_);
    spot_.dir_stat.st_uid = owner.uid;
    spot_.dir_stat.st_gid = owner.gid;
    return false;
  }

  Status enter(const std::string& part, const std::string* name) {
    UniqueFd next(::openat(spot_.dir.get(), part.c_str(), kFolder));
    if (!next.valid()) {
      // It was a folder when it was looked at: swapped for a link, or gone, in between.
      const bool swapped = name && (errno == ELOOP || errno == ENOTDIR || errno == ENOENT);
      return os_error("open", path_, swapped ? ESTALE : errno);
    }
    if (name) {
      real_.push_back(*name);
    } else if (!real_.empty()) {
      real_.pop_back();
    }
    return stand_on(std::move(next));
  }

  Status follow(const std::string& part, const struct stat& st) {
    if (++links_ > kLinksMax) return os_error("open", path_, ELOOP);
    if (on_proc_ && part != "self" && part != "thread-self" && part != "mounts" && part != "net")
      return make_error(Errc::denied,
                        fmt::format("'{}' passes through procfs' link '{}', which leads to another "
                                    "process' files; name the file itself",
                                    path_, part));
    char text[kPathBytesMax + 1];
    const ssize_t length = ::readlinkat(spot_.dir.get(), part.c_str(), text, sizeof text);
    if (length < 0) return os_error("readlink", path_);
    if (length == 0 || static_cast<std::size_t>(length) == sizeof text)
      return os_error("readlink", path_, ENAMETOOLONG);
    const std::string_view target(text, static_cast<std::size_t>(length));
    if (st.st_uid != 0) remember(st.st_uid);
    std::deque<std::string> parts = split(target);
    if (parts.size() + parts_.size() > kPartsMax) return os_error("open", path_, ENAMETOOLONG);
    parts_.insert(parts_.begin(), std::make_move_iterator(parts.begin()),
                  std::make_move_iterator(parts.end()));
    return target.front() == '/' ? to_root() : ok();
  }

  void remember(uid_t uid) {
    for (const Actor& actor : spot_.actors)
      if (actor.uid == uid) return;
    spot_.actors.push_back({uid, options_.groups_of ? options_.groups_of(uid) : std::vector<gid_t>{}});
  }

  // A thread's number leads to its process, listed or not, so all of the agent's threads count. What
  // /proc/mounts and /proc/net lead to tells of the sandbox's namespaces and is served.
  Status refuse_own_process(const std::string& part) {
    const bool own_link = part == "self" || part == "thread-self";
    if (!own_link && !all_digits(part)) return ok();
    struct stat st = {};
    if (::fstatat(spot_.dir.get(), "self", &st, AT_SYMLINK_NOFOLLOW) != 0) return ok();  // not procfs' root
    if (!own_link && ::fstatat(spot_.dir.get(), ("self/task/" + part).c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0)
      return ok();                                                         // another process
    if (own_link && parts_.empty() && !options_.follow_last) return ok();  // the link's text is only a number
    if (parts_.empty() || (parts_.front() != "mounts" && parts_.front() != "net")) return own_process();
    in_own_process_ = true;
    return ok();
  }
  Error own_process() const {
    return make_error(Errc::denied,
                      fmt::format("'{}' names the agent's own process, which is never served; run a "
                                  "command to look at a process",
                                  path_));
  }

  std::string path_;
  const WalkOptions& options_;
  std::deque<std::string> parts_;
  std::vector<std::string> real_;
  Spot spot_;
  std::optional<dev_t> known_dev_;
  bool on_proc_ = false;
  bool in_own_process_ = false;  // in its mounts or net; nothing leads back up from there
  int links_ = 0;
  int races_ = 0;
};

}  // namespace

bool allowed(const struct stat& st, const Actor& actor, unsigned wanted) {
  if (actor.uid == 0) return true;
  unsigned bits = st.st_mode;
  if (st.st_uid == actor.uid) {
    bits >>= 6;
  } else if (std::find(actor.gids.begin(), actor.gids.end(), st.st_gid) != actor.gids.end()) {
    bits >>= 3;
  }
  return (bits & wanted) == wanted;
}

Status Spot::may(const struct stat& st, unsigned wanted) const {
  for (const Actor& actor : actors) {
    if (allowed(st, actor, wanted)) continue;
    return make_error(
        Errc::denied,
        fmt::format("the path passes through a symbolic link of user id {}, who may not {} what it leads "
                    "to; name the file itself instead of the link",
                    actor.uid,
                    wanted & kMayWrite  ? "write"
                    : wanted & kMayRead ? "read"
                                        : "enter"));
  }
  return ok();
}

Status Spot::may_change_entry() const {
  CHECK_OK(may(dir_stat, kMayWrite | kMaySearch));
  if (!(dir_stat.st_mode & S_ISVTX) || !stat) return ok();
  for (const Actor& actor : actors)
    if (actor.uid != stat->st_uid && actor.uid != dir_stat.st_uid)
      return make_error(Errc::denied,
                        fmt::format("the path passes through a symbolic link of user id {}, who may not "
                                    "change another user's entry of a sticky folder",
                                    actor.uid));
  return ok();
}

Result<Spot> walk(std::string_view path, const WalkOptions& options) {
  if (path.empty() || path.front() != '/')
    return make_error(Errc::invalid, fmt::format("'{}' is not an absolute path", path));
  if (path.find('\0') != std::string_view::npos)
    return make_error(Errc::invalid, "a path cannot hold a NUL byte");
  if (path.size() >= kPathBytesMax)
    return make_error(Errc::invalid,
                      fmt::format("the path has {} bytes; the limit is {}", path.size(), kPathBytesMax - 1));
  for (int attempt = 0;; ++attempt) {
    auto spot = Walk(path, options).run();
    if (spot.ok() || !raced(spot.error()) || attempt >= kRaceAttemptsMax) return spot;
  }
}

bool is_missing(const Result<Spot>& spot) {
  if (spot.ok()) return !spot->exists();
  return spot.error().os_error == ENOENT || spot.error().os_error == ENOTDIR;
}

Result<UniqueFd> open_spot(const Spot& spot, int flags, unsigned mode) {
  const int all = flags | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
  UniqueFd fd(::openat(spot.dir.get(), spot.name.c_str(), all, mode));
  if (fd.valid()) return fd;
  const bool was_link = spot.stat && S_ISLNK(spot.stat->st_mode);
  const bool swapped = (errno == ELOOP && !was_link) || (errno == ENOENT && spot.exists()) ||
                       (errno == EEXIST && !spot.exists());
  return os_error("open", spot.real_path, swapped ? ESTALE : errno);
}

bool raced(const Error& error) {
  return error.os_error == ESTALE;
}

}  // namespace atl::agent
