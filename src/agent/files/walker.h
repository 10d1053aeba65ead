#pragma once
#include <sys/stat.h>

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

// How the agent walks a guest's paths: by descriptor, one component at a time, never by name. It
// needs no openat2, which gVisor does not have.
//
// The confused deputy: like envd, the agent opens files as root, whoever the request's user is; who
// holds the access token may read and write everything in the sandbox. What a program inside may
// not do is to bend such a request with a symbolic link. So a link leads only where its owner
// could have gone: after a link that belongs to an unprivileged user, every further folder and the
// file at the end must allow that user what is being done, by owner, group and other bits.
// (Access lists are not read: they can only be refused what they would allow. Hard links are not
// covered; the kernel's fs.protected_hardlinks is what stops those.)
//
// The agent's own entries of procfs (its memory, descriptors, environment) and procfs' magic links
// (/proc/N/fd/*, exe, cwd, root, ns/*) are refused always.
namespace atl::agent {

struct Owner {
  uid_t uid = 0;
  gid_t gid = 0;
};

// The owner of a link that was passed, with all groups of that user.
struct Actor {
  uid_t uid = 0;
  std::vector<gid_t> gids;
};

inline constexpr unsigned kMayRead = 4, kMayWrite = 2, kMaySearch = 1;
bool allowed(const struct stat& st, const Actor& actor, unsigned wanted);

struct WalkOptions {
  bool follow_last = true;
  // Missing folders on the way are made, 0755, and belong to this owner.
  std::optional<Owner> make_parents;
  // All groups of a user id; asked only when an unprivileged user's link is met.
  std::function<std::vector<gid_t>(uid_t)> groups_of;
};

// Where a path led.
struct Spot {
  UniqueFd dir;  // O_PATH; the folder that holds it
  struct stat dir_stat = {};
  std::string name;                 // one component; "." = dir itself
  std::optional<struct stat> stat;  // nothing: no such file there
  std::string real_path;            // absolute, every link resolved
  std::vector<Actor> actors;        // unprivileged owners of the links passed

  bool exists() const { return stat.has_value(); }
  bool is_dir() const { return stat && S_ISDIR(stat->st_mode); }
  // The confused deputy rule for what this spot names, and for changing its folder's entries.
  Status may(const struct stat& st, unsigned wanted) const;
  Status may_change_entry() const;
};

// Blocking. `path` is absolute. Bounds: 4096 bytes, 40 links. A missing last component is a Spot
// without stat; a missing folder on the way is Errc::not_found.
Result<Spot> walk(std::string_view path, const WalkOptions& options);

// Nothing there: no such entry, no such folder on the way, or a file where a folder is needed.
bool is_missing(const Result<Spot>& spot);

// Opens what the spot names with O_NOFOLLOW, O_NONBLOCK, O_NOCTTY and O_CLOEXEC added, so that no
// pipe, terminal or freshly swapped link is waited for or followed.
Result<UniqueFd> open_spot(const Spot& spot, int flags, unsigned mode = 0);

// True when the failure (ESTALE) means that the file changed between looking and opening: walk again.
bool raced(const Error& error);
inline constexpr int kRaceAttemptsMax = 16;

}  // namespace atl::agent
