#pragma once
#include <boost/asio/posix/stream_descriptor.hpp>
#include <memory>
#include <optional>
#include <string>

#include "agent/context.h"
#include "agent/process/spawn.h"
#include "agent/reaper.h"
#include "base/wakeup.h"

namespace atl::agent {

// Parameters, so that tests need not wait as long.
struct StartTimes {
  Millis ready{20'000};  // from the start to the ready command's success
  Millis retry{100};     // after a ready command that failed
};

// The template's startCmd: run once at boot by bash (sh where there is none) as a login shell of the
// default user, in the default workdir, with the sandbox's environment. It goes on for the sandbox's
// life; its output is in the boot log, up to a bound, and then thrown away.
class StartCommand {
 public:
  static constexpr std::size_t kLoggedBytesMax = 64 * 1024;

  StartCommand(AgentContext& context, Reaper& reaper, StartTimes times, std::optional<rlimit> open_files);

  // Until readyCmd exits with 0, or the start command itself does; at once where neither is given.
  // Errors: the start command could not be started or ended otherwise; Errc::deadline with the end
  // of the ready command's output. Call it once.
  Task<Status> run();

 private:
  // One of the two commands. Shared with its readers, which may outlive the wait.
  struct Child {
    pid_t pid = 0;
    std::optional<int> status;  // of waitpid
    std::string tail;           // the end of its output
    std::size_t logged = 0;
    bool keep_log = false;
    std::shared_ptr<Wakeup> changed;
  };
  using ChildPtr = std::shared_ptr<Child>;

  Task<Result<ChildPtr>> launch(std::string script, bool keep_log);
  Task<Status> wait_ready(ChildPtr start);
  Task<Status> probe(ChildPtr start, Wakeup::TimePoint deadline);
  static Task<void> pump(ChildPtr child, asio::posix::stream_descriptor output);
  static void take(Child& child, std::string_view bytes);

  AgentContext& context_;
  Reaper& reaper_;
  StartTimes times_;
  std::optional<rlimit> open_files_;
  std::shared_ptr<Wakeup> changed_;  // one of the two ended
};

}  // namespace atl::agent
