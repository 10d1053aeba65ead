#include "isolation/oci/oci_driver.h"
#include "isolation/trial.h"

namespace atl::isolation {
namespace {

constexpr int kAnswerMs = 10'000;
constexpr std::int64_t kProbeDiskBytes = 64ll << 20, kProbeInodes = 4096;
constexpr std::int64_t kProbeMemoryBytes = 256ll << 20;  // gVisor's own kernel is counted in it

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
  const Limits limits{1, kProbeMemoryBytes, 256, kProbeDiskBytes, kProbeInodes};
  const TrialSteps steps{[this](const Spec& spec) -> Status {
                           TRY([[maybe_unused]] const Started started, start_now(spec));
                           return ok();
                         },
                         [this](const std::string& id) { return destroy_now(id); }};
  return run_trial(new_trial(options_.state_dir, prefix, limits, options_.probe_uid_base, options_.agent_path), prefix,
                   steps, kAnswerMs);
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
