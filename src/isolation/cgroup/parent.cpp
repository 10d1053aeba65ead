#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/fs.h"
#include "isolation/cgroup/files.h"
#include "isolation/cgroup/group.h"

namespace atl::isolation::cgroup {
namespace {

constexpr std::string_view kV2Needed[] = {"memory", "cpu", "pids"};
constexpr char kHostLeaf[] = "atoll-host";
constexpr int kMoveRounds = 16;  // processes may fork while they are moved

bool has_word(std::string_view text, std::string_view word) {
  for (std::size_t at = 0; (at = text.find(word, at)) != std::string_view::npos; ++at) {
    const bool starts = at == 0 || text[at - 1] == ' ';
    const std::size_t end = at + word.size();
    if (starts && (end == text.size() || text[end] == ' ' || text[end] == '\n')) return true;
  }
  return false;
}

// systemd marks a group that it has given away, so that it never touches what lies below.
bool is_delegated(const std::string& folder) {
  char value[2] = {};
  for (const char* name : {"trusted.delegate", "user.delegate"})
    if (::getxattr(folder.c_str(), name, value, sizeof value) == 1 && value[0] == '1') return true;
  return false;
}

Status move_processes_to_leaf(const std::string& folder) {
  const std::string leaf = folder + "/" + kHostLeaf;
  if (::mkdir(leaf.c_str(), 0755) != 0 && errno != EEXIST) return os_error("mkdir", leaf);
  for (int round = 0; round < kMoveRounds; ++round) {
    const Group inner(Version::v2, {{"", folder}});
    const auto pids = inner.processes();
    if (pids.empty()) return ok();
    for (const pid_t pid : pids) {
      // A process that ended meanwhile is no failure; one that cannot be moved shows at the end.
      [[maybe_unused]] const Status moved = write_file(leaf + "/cgroup.procs", std::to_string(pid));
    }
  }
  return make_error(Errc::unavailable, folder + ": its processes cannot be moved to " + leaf);
}

// Lets groups below `folder` have the controllers.
Status enable_controllers(const std::string& folder) {
  TRY(const std::string available, read_file(folder + "/cgroup.controllers", kFileBytesMax));
  TRY(const std::string enabled, read_file(folder + "/cgroup.subtree_control", kFileBytesMax));
  for (std::string_view controller : kV2Needed) {
    if (has_word(enabled, controller)) continue;
    if (!has_word(available, controller))
      return make_error(Errc::unsupported, folder + " lacks the cgroup controller " + std::string(controller) +
                                               "; run atolld as a service with Delegate=yes, or as root of the host");
    const std::string control = folder + "/cgroup.subtree_control";
    const std::string word = "+" + std::string(controller);
    Status done = write_file(control, word);
    if (!done.ok() && done.error().os_error == EBUSY) {
      CHECK_OK(move_processes_to_leaf(folder));
      done = write_file(control, word);
    }
    CHECK_OK(std::move(done));
  }
  return ok();
}

Status make_folder(const std::string& folder) {
  if (::mkdir(folder.c_str(), 0755) != 0 && errno != EEXIST) return os_error("mkdir", folder);
  return ok();
}

Result<std::string> open_v2(const std::string& name, const Layout& layout, const std::string& own_v2) {
  std::string base = layout.unified;
  if (own_v2.size() > 1 && is_delegated(layout.unified + own_v2)) base += own_v2;
  CHECK_OK(enable_controllers(base));
  const std::string folder = base + "/" + name;
  CHECK_OK(make_folder(folder));
  CHECK_OK(enable_controllers(folder));
  return folder;
}

}  // namespace

Result<Parent> Parent::open(const std::string& instance) {
  TRY(const std::string mountinfo, read_file("/proc/self/mountinfo", 64u << 20));
  TRY(const Layout layout, parse_layout(mountinfo));
  TRY(const std::string own, read_file("/proc/self/cgroup", kFileBytesMax));
  return open(instance, layout, parse_own_v2_group(own).value_or("/"));
}

Result<Parent> Parent::open(const std::string& instance, const Layout& layout, const std::string& own_v2) {
  const std::string name = "atoll-" + instance;
  Parent parent;
  parent.layout_ = layout;
  if (layout.version == Version::v2) {
    // After a restart the own group is the leaf: what was delegated lies above it.
    std::string own = own_v2;
    const std::string leaf = std::string("/") + kHostLeaf;
    if (own.size() > leaf.size() && own.compare(own.size() - leaf.size(), leaf.size(), leaf) == 0)
      own.resize(own.size() - leaf.size());
    TRY(parent.folders_[""], open_v2(name, layout, own));
    return parent;
  }
  for (const auto& [controller, point] : layout.v1) {
    parent.folders_[controller] = point + "/" + name;
    CHECK_OK(make_folder(point + "/" + name));
  }
  return parent;
}

Group Parent::group(const std::string& id) const {
  std::map<std::string, std::string> folders;
  for (const auto& [controller, folder] : folders_) folders[controller] = folder + "/" + id;
  return Group(layout_.version, std::move(folders));
}

std::vector<std::string> Parent::ids() const {
  std::vector<std::string> out;
  for (const auto& [controller, folder] : folders_) {
    const auto names = list_dir(folder);
    if (!names.ok()) continue;
    for (const std::string& name : *names) {
      struct stat info {};
      if (::stat((folder + "/" + name).c_str(), &info) == 0 && S_ISDIR(info.st_mode)) out.push_back(name);
    }
  }
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

void Parent::remove_if_empty() const {
  for (const auto& [controller, folder] : folders_) ::rmdir(folder.c_str());
}

}  // namespace atl::isolation::cgroup
