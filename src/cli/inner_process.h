#pragma once
#include <memory>

#include "cli/agent_client.h"
#include "cli/context.h"

namespace atl::cli {

// What a signal to atoll does to the command inside.
enum class OnInterrupt : std::uint8_t {
  abandon,    // stop at once: its sandbox is ended next
  terminate,  // first SIGTERM, then SIGKILL, then stop
};

struct InnerRun {
  ProcessSpec spec;
  OnInterrupt on_interrupt = OnInterrupt::terminate;
};

// /bin/bash -l -c for a shell text, the words themselves otherwise; standard input as asked and as
// this process has one.
ProcessSpec spec_of(const InnerCommand& command, const Console& console);

// Starts it, copies its output as it comes and standard input if it takes any, and gives the exit
// code: its own, or 128 + signal where a signal ended it or atoll. Returns when it ended.
Task<Result<int>> run_inner(Context& context, std::shared_ptr<AgentClient> agent, InnerRun run);

}  // namespace atl::cli
