#include "cli/copy_links.h"

#include "cli/quiet_run.h"

namespace atl::cli {
namespace {

constexpr std::size_t kTargetBytesMax = 4095;

}  // namespace

bool stays_inside(std::string_view target, int depth) {
  if (target.empty() || target.size() > kTargetBytesMax || target[0] == '/') return false;
  if (target.find('\0') != std::string_view::npos) return false;
  bool named = false;
  while (!target.empty()) {
    const std::string_view part = target.substr(0, target.find('/'));
    target.remove_prefix(std::min(target.size(), part.size() + 1));
    if (part.empty() || part == ".") continue;
    if (part != "..") named = true;
    else if (named || --depth < 0) return false;
  }
  return true;
}

Task<Result<std::string>> read_remote_link(AgentClient& agent, std::string path) {
  const std::vector<std::string> paths = {std::move(path)};
  std::vector<std::string> argv = {"readlink", "-n", "--"};
  CO_TRY(QuietResult done, co_await run_quiet(agent, std::move(argv), paths));
  if (done.exit_code != 0) co_return make_error(Errc::internal, "the link cannot be read: " + done.errors);
  co_return std::move(done.output);
}

Task<Status> make_remote_link(AgentClient& agent, std::string target, std::string path) {
  const std::vector<std::string> paths = {std::move(path)};
  // -T: a folder of that name is no place to put the link into.
  std::vector<std::string> argv = {"ln", "-sfnT", "--"};
  argv.push_back(std::move(target));
  CO_TRY(const QuietResult done, co_await run_quiet(agent, std::move(argv), paths));
  if (done.exit_code != 0) co_return make_error(Errc::internal, "the link was not made: " + done.errors);
  co_return ok();
}

}  // namespace atl::cli
