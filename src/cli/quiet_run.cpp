#include "cli/quiet_run.h"

#include "cli/exits.h"

namespace atl::cli {

constexpr std::size_t kKeptBytesMax = 4096;

namespace {

void keep(std::string& kept, const std::string& bytes) {
  if (kept.size() < kKeptBytesMax) kept.append(bytes, 0, kKeptBytesMax - kept.size());
}

}  // namespace

Task<Result<QuietResult>> run_quiet(AgentClient& agent, std::vector<std::string> argv,
                                    const std::vector<std::string>& paths) {
  ProcessSpec spec;
  spec.argv = std::move(argv);
  spec.cwd = "/";
  for (const std::string& path : paths) {
    if (!path.starts_with('/')) spec.cwd = "~";
    spec.argv.push_back(path.starts_with("~/") ? path.substr(2) : path);
  }
  CO_TRY(auto stream, co_await agent.start(spec));
  QuietResult result;
  for (;;) {
    CO_TRY(ProcessEvent event, co_await stream->next());
    if (const auto* output = std::get_if<ProcessOutput>(&event)) {
      keep(output->kind == OutputKind::err ? result.errors : result.output, output->bytes);
    } else if (const auto* ended = std::get_if<ProcessEnded>(&event)) {
      result.exit_code = exit_code_of_process(ended->exit_code, ended->exited, ended->status);
      co_return result;
    }
  }
}

}  // namespace atl::cli
