#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/crypto.h"
#include "base/fs.h"
#include "base/limits.h"
#include "isolation/oci/oci_driver.h"

namespace atl::isolation {
namespace {

constexpr int kAnswerMs = 10'000;
constexpr std::int64_t kProbeDiskBytes = 64ll << 20, kProbeInodes = 4096;
constexpr std::int64_t kProbeMemoryBytes = 256ll << 20;  // gVisor's own kernel is counted in it
constexpr std::size_t kPrefaceBytes = 64;

// A listening channel.sock that everybody may dial.
Result<UniqueFd> listen_at(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return make_error(Errc::invalid, path + ": too long for a Unix socket");
  path.copy(address.sun_path, path.size());
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return os_error("socket", path);
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) return os_error("bind", path);
  if (::chmod(path.c_str(), 0666) != 0) return os_error("chmod", path);
  if (::listen(fd.get(), 1) != 0) return os_error("listen", path);
  return fd;
}

Status await_preface(int listener, const std::string& token) {
  const std::string late = "process 1 runs, but did not answer on its channel within " + std::to_string(kAnswerMs) + " ms";
  pollfd waiting{listener, POLLIN, 0};
  if (::poll(&waiting, 1, kAnswerMs) != 1) return make_error(Errc::deadline, late);
  const UniqueFd channel(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
  if (!channel.valid()) return os_error("accept", "channel.sock");
  std::string preface;
  char buffer[kPrefaceBytes];
  while (preface.size() < kPrefaceBytes) {
    pollfd readable{channel.get(), POLLIN, 0};
    if (::poll(&readable, 1, kAnswerMs) != 1) return make_error(Errc::deadline, late);
    const ssize_t n = ::read(channel.get(), buffer, kPrefaceBytes - preface.size());
    if (n <= 0) return make_error(Errc::internal, "process 1 hung up before its preface");
    preface.append(buffer, n);
  }
  if (preface != token) return make_error(Errc::internal, "process 1 sent a preface that is not its token");
  return ok();
}

// A folder with a template of one layer, which holds nothing but empty folders.
Result<std::string> make_template(const std::string& dir) {
  const std::string home = dir + "/templates/probe";
  CHECK_OK(make_dirs(home, 0700));
  for (const char* name : {"dev", "etc", "proc", "run", "sys", "tmp"})
    CHECK_OK(make_dirs(dir + "/layers/probe/" + name, 0755));
  CHECK_OK(write_file_atomic(home + "/template.json",
                             R"({"name":"probe","templateId":"probe","buildId":"probe","layers":["probe"]})", 0600));
  return home;
}

std::string cure_of(Tier tier) {
  if (tier == Tier::container)
    return "the container tier needs crun 1.8 or later, Linux 5.19 or later with user namespaces, overlayfs, loop "
           "devices and mkfs.ext4, and root";
  return "the gvisor tier needs a runsc of 2025 or later (atoll's setup builds one), Linux 5.19 or later with user "
         "namespaces, overlayfs, loop devices and mkfs.ext4, and root";
}

}  // namespace

Status OciDriver::try_sandbox() {
  const std::string prefix = "probe" + std::string(name(options_.tier));
  // What a probe left that was cut off by the node's end.
  if (const auto names = list_dir(options_.state_dir); names.ok())
    for (const std::string& stale : *names)
      if (stale.rfind(prefix, 0) == 0) {
        CHECK_OK(destroy_now(stale));
        CHECK_OK(remove_tree(options_.state_dir + "/" + stale));
      }
  const std::string id = prefix + random_id(8);
  const std::string dir = options_.state_dir + "/" + id;
  Spec spec;
  spec.id = id;
  spec.limits = Limits{1, kProbeMemoryBytes, 256, kProbeDiskBytes, kProbeInodes};
  spec.uid_base = options_.probe_uid_base;
  spec.hostname = "probe";
  spec.channel_dir = dir + "/channel";
  spec.agent_path = options_.agent_path;
  spec.log_path = dir + "/boot.log";
  const std::string token = random_hex(kPrefaceBytes / 2);
  spec.boot_config = json::serialize(json::object{{"bootToken", token}, {"accessToken", ""}, {"sandboxId", id},
                                                  {"templateId", "probe"}, {"channel", "/run/atoll/channel.sock"}});
  auto attempt = [&]() -> Status {
    TRY(spec.template_dir, make_template(dir));
    CHECK_OK(make_dirs(spec.channel_dir, 0755));
    TRY(const UniqueFd listener, listen_at(spec.channel_dir + "/channel.sock"));
    TRY([[maybe_unused]] const Started started, start_now(spec));
    return await_preface(listener.get(), token);
  };
  Status result = attempt();
  Status gone = destroy_now(id);
  Status cleared = remove_tree(dir);
  if (!result.ok()) return result;
  if (!gone.ok()) return gone;
  return cleared;
}

Probe OciDriver::probe_now() {
  Probe probe;
  probe.runtime = tool_.name();
  auto asked = version();
  if (!asked.ok()) {
    probe.reason = asked.error().message + "; " + cure_of(options_.tier);
    return probe;
  }
  probe.version = *asked;
  const Status tried = try_sandbox();
  probe.works = tried.ok();
  probe.reason = tried.ok() ? "a sandbox was started, answered on its channel, and was removed"
                            : tried.error().message + "; " + cure_of(options_.tier);
  return probe;
}

}  // namespace atl::isolation
