#include "isolation/trial.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>

#include "base/crypto.h"
#include "base/fs.h"
#include "isolation/unix_socket.h"

namespace atl::isolation {
namespace {

constexpr std::size_t kPrefaceBytes = 64;
constexpr std::size_t kConsoleTailBytes = 400, kConsoleBytesMax = 4u << 20;

Status await_preface(int listener, const std::string& token, int within_ms) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(within_ms);
  auto wait = [&](int fd) -> Status {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(until - std::chrono::steady_clock::now()).count();
    pollfd waiting{fd, POLLIN, 0};
    if (left > 0 && ::poll(&waiting, 1, static_cast<int>(left)) == 1) return ok();
    return make_error(Errc::deadline,
                      "process 1 did not answer on its channel within " + std::to_string(within_ms) + " ms");
  };
  CHECK_OK(wait(listener));
  const UniqueFd channel(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
  if (!channel.valid()) return os_error("accept", "channel.sock");
  std::string preface;
  char buffer[kPrefaceBytes];
  while (preface.size() < kPrefaceBytes) {
    CHECK_OK(wait(channel.get()));
    const ssize_t n = ::read(channel.get(), buffer, kPrefaceBytes - preface.size());
    if (n <= 0) return make_error(Errc::unavailable, "process 1 hung up before its preface");
    preface.append(buffer, static_cast<std::size_t>(n));
  }
  if (preface != token) return make_error(Errc::internal, "process 1 sent a preface that is not its token");
  return ok();
}

// A template of one layer, which holds nothing but empty folders.
Result<std::string> make_template(const std::string& dir) {
  const std::string home = dir + "/templates/probe";
  CHECK_OK(make_dirs(home, 0700));
  for (const char* name : {"dev", "etc", "proc", "run", "sys", "tmp"})
    CHECK_OK(make_dirs(dir + "/layers/probeempty/" + name, 0755));
  CHECK_OK(write_file_atomic(home + "/template.json",
                             R"({"name":"probe","templateId":"probe","buildId":"probe","layers":["probeempty"]})", 0600));
  return home;
}

Status clear_stale(const std::string& state_dir, const std::string& prefix, const TrialSteps& steps) {
  const auto names = list_dir(state_dir);
  if (!names.ok()) return ok();
  for (const std::string& stale : *names) {
    if (stale.rfind(prefix, 0) != 0) continue;
    CHECK_OK(steps.destroy(stale));
    CHECK_OK(remove_tree(state_dir + "/" + stale));
  }
  return ok();
}

Status attempt(Trial& trial, const TrialSteps& steps, int within_ms) {
  TRY(trial.spec.template_dir, make_template(trial.dir));
  CHECK_OK(make_dirs(trial.spec.channel_dir, 0755));
  TRY(const UniqueFd listener, listen_unix(trial.spec.channel_dir + "/channel.sock", 0666));
  CHECK_OK(steps.start(trial.spec));
  return await_preface(listener.get(), trial.token, within_ms);
}

// What process 1, or its machine's console, said last.
Error with_console(Error error, const std::string& log) {
  auto text = read_file(log, kConsoleBytesMax);
  if (!text.ok() || text->empty()) return error;
  if (text->size() > kConsoleTailBytes) text->erase(0, text->size() - kConsoleTailBytes);
  error.message += "; it said last: " + json_escape(*text);
  return error;
}

}  // namespace

Trial new_trial(const std::string& state_dir, const std::string& prefix, const Limits& limits, std::uint32_t uid_base,
                const std::string& agent_path) {
  Trial trial;
  Spec& spec = trial.spec;
  spec.id = prefix + random_id(8);
  trial.dir = state_dir + "/" + spec.id;
  trial.token = random_hex(kPrefaceBytes / 2);
  spec.limits = limits;
  spec.uid_base = uid_base;
  spec.hostname = "probe";
  spec.channel_dir = trial.dir + "/channel";
  spec.agent_path = agent_path;
  spec.log_path = trial.dir + "/boot.log";
  spec.boot_config = json::serialize(json::object{{"bootToken", trial.token}, {"accessToken", ""}, {"sandboxId", spec.id},
                                                  {"templateId", "probe"}, {"channel", "/run/atoll/channel.sock"}});
  return trial;
}

Status run_trial(Trial trial, const std::string& prefix, const TrialSteps& steps, int within_ms) {
  const std::string state_dir = trial.dir.substr(0, trial.dir.rfind('/'));
  CHECK_OK(clear_stale(state_dir, prefix, steps));
  Status result = attempt(trial, steps, within_ms);
  if (!result.ok()) result = with_console(std::move(result).error(), trial.spec.log_path);
  Status gone = steps.destroy(trial.spec.id);
  Status cleared = remove_tree(trial.dir);
  if (!result.ok()) return result;
  if (!gone.ok()) return gone;
  return cleared;
}

}  // namespace atl::isolation
