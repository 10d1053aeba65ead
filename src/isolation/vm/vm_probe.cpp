#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/crypto.h"
#include "base/fs.h"
#include "isolation/vm/unix_socket.h"
#include "isolation/vm/vm_driver.h"

namespace atl::isolation {
namespace {

constexpr std::int64_t kProbeMemoryBytes = 128ll << 20, kProbeDiskBytes = 64ll << 20, kProbeInodes = 4096;
constexpr int kEmulatedMs = 25'000;
constexpr std::size_t kPrefaceBytes = 64;
constexpr std::size_t kLogTailBytes = 400;

Status await_preface(int listener, const std::string& token, int within_ms) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(within_ms);
  auto wait = [&](int fd) -> Status {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(until - std::chrono::steady_clock::now()).count();
    pollfd waiting{fd, POLLIN, 0};
    if (left > 0 && ::poll(&waiting, 1, static_cast<int>(left)) == 1) return ok();
    return make_error(Errc::deadline, "the guest did not come up within " + std::to_string(within_ms) + " ms");
  };
  CHECK_OK(wait(listener));
  const UniqueFd channel(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
  if (!channel.valid()) return os_error("accept", "channel.sock");
  std::string preface;
  char buffer[kPrefaceBytes];
  while (preface.size() < kPrefaceBytes) {
    CHECK_OK(wait(channel.get()));
    const ssize_t n = ::read(channel.get(), buffer, kPrefaceBytes - preface.size());
    if (n <= 0) return make_error(Errc::unavailable, "the VMM ended before the guest came up");
    preface.append(buffer, static_cast<std::size_t>(n));
  }
  if (preface != token) return make_error(Errc::internal, "the guest sent a preface that is not its token");
  return ok();
}

// A folder with a template of one layer, which holds nothing but empty folders.
Result<std::string> make_template(const std::string& dir) {
  const std::string home = dir + "/templates/probe";
  CHECK_OK(make_dirs(home, 0700));
  for (const char* name : {"dev", "etc", "proc", "run", "sys", "tmp"})
    CHECK_OK(make_dirs(dir + "/layers/probeempty/" + name, 0755));
  CHECK_OK(write_file_atomic(home + "/template.json",
                             R"({"name":"probe","templateId":"probe","buildId":"probe","layers":["probeempty"]})", 0600));
  return home;
}

std::string end_of(const std::string& log) {
  auto text = read_file(log, 4u << 20);
  if (!text.ok() || text->empty()) return "";
  if (text->size() > kLogTailBytes) text->erase(0, text->size() - kLogTailBytes);
  return "; its console ends: " + json_escape(*text);
}

constexpr char kCure[] =
    "the microvm tier needs QEMU 7.2 or later (apt-get install qemu-system-x86), erofs-utils, the guest kernel that "
    "atoll's setup fetches, and a /dev/kvm that runs it, or the option --microvm-slow to let QEMU emulate the CPU";

}  // namespace

Status VmDriver::try_machine(const vm::Vmm& vmm, int within_ms) {
  const std::string prefix = "probemicrovm";
  // What a probe left that was cut off by the node's end.
  if (const auto names = list_dir(options_.state_dir); names.ok())
    for (const std::string& stale : *names)
      if (stale.rfind(prefix, 0) == 0) {
        CHECK_OK(destroy_now(stale));
        CHECK_OK(remove_tree(options_.state_dir + "/" + stale));
      }
  const std::string id = prefix + random_id(8);
  const std::string dir = options_.state_dir + "/" + id;
  Spec spec = own_spec(id, Limits{1, kProbeMemoryBytes, 256, kProbeDiskBytes, kProbeInodes});
  const std::string token = random_hex(kPrefaceBytes / 2);
  spec.boot_config = json::serialize(json::object{{"bootToken", token}, {"accessToken", ""}, {"sandboxId", id},
                                                  {"templateId", "probe"}, {"channel", "/run/atoll/channel.sock"}});
  auto attempt = [&]() -> Status {
    TRY(spec.template_dir, make_template(dir));
    CHECK_OK(make_dirs(spec.channel_dir, 0755));
    TRY(const UniqueFd listener, vm::listen_unix(spec.channel_dir + "/channel.sock", 0666));
    TRY([[maybe_unused]] const Started started, start_from(spec, vmm, nullptr));
    return await_preface(listener.get(), token, within_ms);
  };
  Status result = attempt();
  if (!result.ok()) {
    Error error = std::move(result).error();
    error.message += end_of(spec.log_path);
    result = std::move(error);
  }
  Status gone = destroy_now(id);
  Status cleared = remove_tree(dir);
  if (!result.ok()) return result;
  if (!gone.ok()) return gone;
  return cleared;
}

// The first that really runs a guest, found out once. Others wait meanwhile.
Result<std::shared_ptr<vm::Vmm>> VmDriver::vmm_that_works() {
  const std::lock_guard lock(probe_mutex_);
  if (chosen_) return chosen_;
  return try_all();
}

Result<std::shared_ptr<vm::Vmm>> VmDriver::try_all() {
  refusals_.clear();
  for (const auto& vmm : options_.vmms) {
    const bool hardware = vmm->accelerator() == vm::Accelerator::kvm;
    Status tried = hardware && ::access("/dev/kvm", R_OK | W_OK) != 0
                       ? Status(make_error(Errc::unsupported, "this host has no /dev/kvm"))
                       : try_machine(*vmm, hardware ? options_.hardware_trial_ms : kEmulatedMs);
    if (tried.ok()) {
      chosen_ = vmm;
      return chosen_;
    }
    refusals_ += (refusals_.empty() ? "" : "; ") + std::string(vmm->name()) + " with " +
                 std::string(vm::name(vmm->accelerator())) + ": " + tried.error().message;
  }
  return make_error(Errc::unsupported, refusals_ + "; " + kCure);
}

Probe VmDriver::probe_now() {
  Probe probe;
  const std::lock_guard lock(probe_mutex_);
  const auto vmm = try_all();
  if (!vmm.ok()) {
    probe.reason = vmm.error().message;
    return probe;
  }
  const auto version = (*vmm)->version();
  probe.works = true;
  probe.slow = (*vmm)->accelerator() == vm::Accelerator::emulation;
  probe.runtime = (*vmm)->name();
  probe.version = version.ok() ? *version : "";
  probe.reason = "a machine was booted with " + std::string(vm::name((*vmm)->accelerator())) +
                 ", answered on its channel, and was removed" + (refusals_.empty() ? "" : "; not used: " + refusals_);
  return probe;
}

}  // namespace atl::isolation
