#pragma once
#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace atl::isolation::vm {

// On the kernel's command line of a machine that is to be saved; and what its agent then writes to
// its log when it has come to the point (agent/machine/machine.cpp).
inline constexpr char kSaveOption[] = "atoll.save", kWaits[] = "waits for its boot message\n";

// A machine that stands where its agent waits for the boot message. It holds nothing secret and no
// one's data. Its memory and state are in sealed memory of this process: nobody can change them, a
// VMM with a descriptor included, and they end with the process.
struct SavedState {
  UniqueFd memory, state;
  std::string disk;  // the image that belongs to it; deleted with it

  SavedState(UniqueFd m, UniqueFd s, std::string d) : memory(std::move(m)), state(std::move(s)), disk(std::move(d)) {}
  SavedState(const SavedState&) = delete;
  ~SavedState();
};
using SavedStatePtr = std::shared_ptr<const SavedState>;

// Saved machines by what they are made of. Any thread.
class SavedStates {
 public:
  using Time = std::chrono::steady_clock::time_point;
  static constexpr std::size_t kMost = 4;  // each takes some 100 MB of the host; the least recently used goes
  // One that had to go is not made again for so long: kinds that take turns would else cost a boot each time.
  static constexpr std::chrono::minutes kRest{10};

  SavedStatePtr find(const std::string& key);  // nullptr: none
  // True for the one caller that shall make it; it then calls put or failed.
  bool begin(const std::string& key, Time now = std::chrono::steady_clock::now());
  void put(const std::string& key, SavedStatePtr state, Time now = std::chrono::steady_clock::now());
  void failed(const std::string& key);   // is not tried again
  void drop(const std::string& key);     // one that turned out not to work; nor is that

 private:
  struct Entry {
    SavedStatePtr state;
    std::uint64_t last_used = 0;
  };
  std::mutex mutex_;
  std::map<std::string, Entry> states_;
  std::set<std::string> making_, failed_;
  std::map<std::string, Time> resting_;  // when they went
  std::uint64_t uses_ = 0;
};

// An empty file in memory that can be sealed. `bytes` 0 = it grows.
Result<UniqueFd> sealable_file(const char* name, std::int64_t bytes);
// From now on nobody can change it. Waits a moment for mappings of a process that has just ended.
Status seal(int fd);

}  // namespace atl::isolation::vm
