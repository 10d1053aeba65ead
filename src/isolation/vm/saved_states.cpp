#include "isolation/vm/saved_states.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>

namespace atl::isolation::vm {

SavedState::~SavedState() { ::unlink(disk.c_str()); }

SavedStatePtr SavedStates::find(const std::string& key) {
  const std::lock_guard lock(mutex_);
  const auto found = states_.find(key);
  if (found == states_.end()) return nullptr;
  found->second.last_used = ++uses_;
  return found->second.state;
}

bool SavedStates::begin(const std::string& key, Time now) {
  const std::lock_guard lock(mutex_);
  std::erase_if(resting_, [now](const auto& one) { return now - one.second >= kRest; });
  if (resting_.contains(key)) return false;
  return !states_.contains(key) && !failed_.contains(key) && making_.insert(key).second;
}

void SavedStates::put(const std::string& key, SavedStatePtr state, Time now) {
  SavedStatePtr dropped;  // its files are deleted outside the lock
  const std::lock_guard lock(mutex_);
  making_.erase(key);
  states_[key] = Entry{std::move(state), ++uses_};
  if (states_.size() <= kMost) return;
  const auto oldest = std::min_element(states_.begin(), states_.end(), [](const auto& a, const auto& b) {
    return a.second.last_used < b.second.last_used;
  });
  dropped = std::move(oldest->second.state);
  resting_[oldest->first] = now;
  states_.erase(oldest);
}

void SavedStates::failed(const std::string& key) {
  const std::lock_guard lock(mutex_);
  making_.erase(key);
  failed_.insert(key);
}

void SavedStates::drop(const std::string& key) {
  const std::lock_guard lock(mutex_);
  states_.erase(key);
  failed_.insert(key);
}

Result<UniqueFd> sealable_file(const char* name, std::int64_t bytes) {
  UniqueFd fd(::memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd.valid()) return os_error("memfd_create", name);
  if (bytes > 0 && ::ftruncate(fd.get(), bytes) != 0) return os_error("ftruncate", name);
  return fd;
}

Status seal(int fd) {
  constexpr int kAll = F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL, kTries = 200;
  const timespec pause{0, 5'000'000};
  for (int i = 0; ::fcntl(fd, F_ADD_SEALS, kAll) != 0; ++i) {
    if (errno != EBUSY || i == kTries) return os_error("fcntl(F_ADD_SEALS)", "saved memory");
    ::nanosleep(&pause, nullptr);
  }
  return ok();
}

}  // namespace atl::isolation::vm
