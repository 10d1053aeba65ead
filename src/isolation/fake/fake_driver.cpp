#include "isolation/fake/fake_driver.h"

#include <fcntl.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>

#include "base/blocking.h"
#include "base/fs.h"
#include "isolation/fake/detached.h"
#include "isolation/fake/process_tree.h"
#include "isolation/host_facts.h"
#include "isolation/oci/spec.h"
#include "isolation/oci/stdio.h"

namespace atl::isolation {
namespace {

constexpr int kKillMs = 10'000;

// The agent is not in a mount namespace of its own, so its channel is where the host has it.
Result<std::string> with_host_channel(const Spec& spec) {
  const std::string path = spec.channel_dir + "/channel.sock";
  if (path.size() >= sizeof(sockaddr_un::sun_path))
    return make_error(Errc::invalid, path + ": too long for a Unix socket; use a shorter folder");
  TRY(json::value config, parse_json(spec.boot_config));
  if (!config.is_object()) return make_error(Errc::invalid, "boot config: expected an object");
  config.as_object()["channel"] = path;
  return json::serialize(config);
}

}  // namespace

std::vector<pid_t> FakeDriver::roots_of(const std::string& id) const {
  std::vector<pid_t> roots;
  for (const Marked& found : find_marked(mark_of(id)))
    if (found.mark == mark_of(id)) roots.push_back(found.pid);
  return roots;
}

Started FakeDriver::started(const Spec& spec, ProcessId init) const {
  json::object fields = host_facts();
  fields["tier"] = name(options_.tier);
  fields["driver"] = "fake";
  fields["runtime"] = "none";
  fields["runtimeVersion"] = "";
  fields["posture"] = "none";
  fields["namespaces"] = json::object{};
  fields["uidRange"] = nullptr;
  fields["seccompSha256"] = nullptr;
  fields["capabilities"] = nullptr;
  fields["mounts"] = json::array{};
  fields["network"] = "the host's";
  fields["limits"] = nullptr;  // none of those asked is enforced
  fields["hostUid"] = static_cast<std::int64_t>(::getuid());
  fields["id"] = spec.id;
  return Started{init, Receipt{std::move(fields)}};
}

Result<Started> FakeDriver::start_now(const Spec& spec) const {
  CHECK_OK(oci::check(spec));
  if (!roots_of(spec.id).empty()) return make_error(Errc::exists, "sandbox " + spec.id + " exists on this host");
  if (!exists(spec.template_dir + "/template.json"))
    return make_error(Errc::not_found, "template: " + spec.template_dir + "/template.json is missing");
  TRY(const std::string config, with_host_channel(spec));
  TRY(const UniqueFd in, filled_pipe(config));
  TRY(const UniqueFd out, open_fd("/dev/null", O_WRONLY));
  TRY(const UniqueFd log, open_fd(spec.log_path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0600));
  Detached agent;
  agent.argv = {spec.agent_path, mark_of(spec.id)};
  agent.env = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"};
  agent.in = in.get();
  agent.out = out.get();
  agent.err = log.get();
  TRY(const ProcessId init, start_detached(agent));
  return started(spec, init);
}

Status FakeDriver::destroy_now(const std::string& id) const {
  // One that a killed node had forked gets its mark only when it is executed.
  CHECK_OK(await_none_named(kStartingName, kKillMs));
  for (const pid_t root : roots_of(id)) CHECK_OK(kill_tree(root, kKillMs));
  return ok();
}

Result<Started> FakeDriver::adopt_now(const Spec& spec, ProcessId init) const {
  const auto roots = roots_of(spec.id);
  const bool found = std::find(roots.begin(), roots.end(), init.pid) != roots.end();
  if (!found || !is_alive(init))
    return make_error(Errc::not_found, "sandbox " + spec.id + " is not whole: process 1 has ended");
  return started(spec, init);
}

std::vector<std::string> FakeDriver::leftovers_now() const {
  std::vector<std::string> ids;
  for (const Marked& found : find_marked(prefix())) ids.push_back(found.mark.substr(prefix().size()));
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return ids;
}

Result<Usage> FakeDriver::usage_now(const std::string& id) const {
  const auto roots = roots_of(id);
  if (roots.empty()) return make_error(Errc::not_found, "sandbox " + id + " is not running here");
  // Limits, disk and refusals stay 0: there are none.
  Usage out;
  const TreeUse use = use_of(process_tree(roots.front()));
  out.cpu_usec = use.cpu_usec;
  out.memory_bytes = use.memory_bytes;
  out.pids = use.processes;
  return out;
}

Task<Probe> FakeDriver::probe() {
  Probe probe;
  probe.runtime = "none";
  probe.works = ::access(options_.agent_path.c_str(), X_OK) == 0;
  probe.reason = probe.works ? "runs the agent as an ordinary process, without isolation"
                             : "the agent " + options_.agent_path + " cannot be executed";
  co_return probe;
}

Task<Result<Started>> FakeDriver::start(Spec spec) {
  auto work = [this, spec = std::move(spec)] { return start_now(spec); };
  co_return co_await run_blocking(*options_.pool, std::move(work));
}

// There is nothing but processes.
Task<Status> FakeDriver::kill(std::string id) { return destroy(std::move(id)); }

Task<Status> FakeDriver::destroy(std::string id) {
  auto work = [this, id = std::move(id)] { return destroy_now(id); };
  co_return co_await run_blocking(*options_.pool, std::move(work));
}

Task<Result<Started>> FakeDriver::adopt(Spec spec, ProcessId init) {
  auto work = [this, spec = std::move(spec), init] { return adopt_now(spec, init); };
  co_return co_await run_blocking(*options_.pool, std::move(work));
}

Task<std::vector<std::string>> FakeDriver::leftovers() {
  auto work = [this] { return leftovers_now(); };
  co_return co_await run_blocking(*options_.pool, std::move(work));
}

Task<Result<Usage>> FakeDriver::usage(std::string id) {
  auto work = [this, id = std::move(id)] { return usage_now(id); };
  co_return co_await run_blocking(*options_.pool, std::move(work));
}

}  // namespace atl::isolation
