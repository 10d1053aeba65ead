#pragma once
#include <memory>

#include "cli/agent_client.h"
#include "cli/context.h"

namespace atl::cli {

// What a signal to atoll does to the command inside.
enum class OnInterrupt : std::uint8_t {
  abandon,    // stop at once: a terminal's Ctrl-C goes another way
  run,        // Ctrl-C is passed on, the second stops, other signals stop at once: its sandbox ends next
  exec,       // signals are passed on, the second kills it and stops
};

struct InnerRun {
  ProcessSpec spec;
  OnInterrupt on_interrupt = OnInterrupt::exec;
  // When the sandbox's own time is up, where the caller set it: an end after that is no surprise.
  std::optional<std::chrono::steady_clock::time_point> sandbox_until;
};

// How it came out. `why` is empty where the exit code is the command's own, or there is nobody to
// tell; else what happened instead, not yet told.
struct InnerEnd {
  int exit_code = 0;
  std::string why;
};

// /bin/bash -l -c for a shell text, the words themselves otherwise; standard input as asked and as
// this process has one.
ProcessSpec spec_of(const InnerCommand& command, const Console& console);

// Starts it, copies its output as it comes and standard input if it takes any. The exit code is the
// command's own, 128 + signal where a signal ended it or atoll, else 124 to 127 (exits.h). Returns
// when it ended.
Task<InnerEnd> run_inner(Context& context, std::shared_ptr<AgentClient> agent, InnerRun run);

// Tells why, and gives the exit code.
Task<int> told(Context& context, InnerEnd end);

}  // namespace atl::cli
