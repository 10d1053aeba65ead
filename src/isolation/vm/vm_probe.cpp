#include <unistd.h>

#include "isolation/trial.h"
#include "isolation/vm/vm_driver.h"

namespace atl::isolation {
namespace {

constexpr std::int64_t kProbeMemoryBytes = 128ll << 20, kProbeDiskBytes = 64ll << 20, kProbeInodes = 4096;
constexpr int kEmulatedMs = 25'000;

constexpr char kCure[] =
    "the microvm tier needs QEMU 7.2 or later (apt-get install qemu-system-x86), erofs-utils, the guest kernel that "
    "atoll's setup fetches, and a /dev/kvm that runs it, or the option --microvm-slow to let QEMU emulate the CPU";

}  // namespace

Status VmDriver::try_machine(const vm::Vmm& vmm, int within_ms) {
  const std::string prefix = "probemicrovm";
  const Limits limits{1, kProbeMemoryBytes, 256, kProbeDiskBytes, kProbeInodes};
  const TrialSteps steps{[&](const Spec& spec) -> Status {
                           TRY([[maybe_unused]] const Started started, start_from(spec, vmm, nullptr));
                           return ok();
                         },
                         [this](const std::string& id) { return destroy_now(id); }};
  return run_trial(new_trial(options_.state_dir, prefix, limits, options_.probe_uid_base, options_.agent_path), prefix,
                   steps, within_ms);
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
