#pragma once
#include <sys/types.h>

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "atolld/backoff.h"
#include "atolld/front_door.h"
#include "base/config.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace atl::atolld {

// Starts the roles as processes of their own and starts them again when they die. Meets nobody:
// its only inputs are signals and the ends of its children. One thread, no event loop.
//
// SIGTERM, SIGINT: stops edge, api and node in this order; sandboxes live on and are adopted by the
// next start. SIGUSR1: the same, but the node ends all sandboxes first. SIGHUP: reads the certificate's
// files now.
class Supervisor {
 public:
  static constexpr std::chrono::milliseconds kStopWait{10'000};  // of one role, then SIGKILL
  static constexpr std::chrono::milliseconds kEndSandboxesWait{120'000};
  static constexpr std::chrono::seconds kCapLogEvery{60};

  // `arguments` are what each role's own command line gets after `role NAME`.
  Supervisor(Config config, std::vector<std::string> arguments);
  // Until told to stop. Returns the exit status.
  int run();

 private:
  using Time = std::chrono::steady_clock::time_point;
  struct Role {
    std::string name;
    pid_t pid = 0;  // 0 = not running
    Backoff backoff;
    Time start_at{};
  };

  Status prepare();
  Status lock();
  void start_due(Time now);
  Status start(Role& role, Time now);
  // Takes the ends of all children, orphans of sandboxes included.
  void reap(Time now);
  int wait_signal(Time until);
  void cap_own_log(Time now);
  Time next_start() const;
  void stop_all(bool end_sandboxes);
  void stop_role(Role& role, int signal, std::chrono::milliseconds at_most);
  void write_pid(const std::string& name, pid_t pid);

  Config config_;
  std::vector<std::string> arguments_;
  std::vector<Role> roles_;  // in order of starting
  UniqueFd lock_;
  FrontDoor door_;
  bool stopping_ = false;
  Time cap_log_at_{};
};

}  // namespace atl::atolld
