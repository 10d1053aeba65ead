#include "cli/quiet_run.h"

#include "cli/exits.h"

namespace atl::cli {

constexpr std::size_t kErrorBytesMax = 4096;

Task<Result<QuietResult>> run_quiet(AgentClient& agent, std::vector<std::string> argv) {
  ProcessSpec spec;
  spec.argv = std::move(argv);
  CO_TRY(auto stream, co_await agent.start(spec));
  QuietResult result;
  for (;;) {
    CO_TRY(ProcessEvent event, co_await stream->next());
    if (const auto* output = std::get_if<ProcessOutput>(&event)) {
      if (output->kind == OutputKind::err && result.errors.size() < kErrorBytesMax)
        result.errors.append(output->bytes, 0, kErrorBytesMax - result.errors.size());
    } else if (const auto* ended = std::get_if<ProcessEnded>(&event)) {
      result.exit_code = exit_code_of_process(ended->exit_code, ended->exited, ended->status);
      co_return result;
    }
  }
}

}  // namespace atl::cli
