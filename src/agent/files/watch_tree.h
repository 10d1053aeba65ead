#pragma once
#include <sys/inotify.h>

#include <cstdint>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "agent/files/walker.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "proto/filesystem.pb.h"

namespace atl::agent {

struct WatchLimits {
  std::size_t folders_max = 8192;  // each has an inotify watch
};

// What happens in a folder, by inotify; `recursive` has a watch on every folder below, also those
// that come later, whose content is announced as created, so that nothing made before the watch was
// in place is lost. Links are not entered, nor procfs and its like. One thread at a time; open and
// read_changes block on the file system only.
class WatchTree {
 public:
  struct Change {
    std::string name;  // relative to the watched folder; "." = itself
    filesystem::EventType type;
  };

  // Errc::not_found, Errc::invalid (no folder), Errc::exhausted (folders_max, or the kernel's bound).
  static Result<std::unique_ptr<WatchTree>> open(const std::string& path, bool recursive, bool allow_network,
                                                 const WalkOptions& options, WatchLimits limits);

  int fd() const { return inotify_.get(); }
  // What is there now, perhaps nothing. Errc::exhausted: events were lost (the kernel's queue ran
  // over) or a folder more than the bound appeared; the tree is of no further use then.
  Result<std::vector<Change>> read_changes();
  std::size_t folders() const { return name_of_.size(); }

 private:
  WatchTree(UniqueFd inotify, std::string root, const struct stat& root_stat, bool recursive,
            WatchLimits limits)
      : inotify_(std::move(inotify)),
        root_(std::move(root)),
        root_stat_(root_stat),
        recursive_(recursive),
        limits_(limits) {}

  Status add(int folder, const std::string& name);
  Status scan(int folder, const std::string& name, std::vector<Change>* announced, unsigned depth);
  Status enter_new_folder(const std::string& name, std::vector<Change>& changes);
  void forget_below(const std::string& name);
  Result<UniqueFd> open_below(const std::string& name) const;
  Status take(const struct inotify_event& event, const char* file_name, std::vector<Change>& changes);
  void emit(std::uint32_t mask, const std::string& name, std::vector<Change>& changes);

  UniqueFd inotify_;
  // Not a descriptor, which would hold the folder and so keep the kernel from telling of its removal.
  std::string root_;
  struct stat root_stat_;
  bool recursive_;
  WatchLimits limits_;
  std::unordered_map<int, std::string> name_of_;  // watch -> folder, "" = the root
  std::unordered_map<std::string, int> watch_of_;
  // Announced from a scan; the kernel's own event for it may still be in the queue.
  std::unordered_set<std::string> announced_;
};

}  // namespace atl::agent
