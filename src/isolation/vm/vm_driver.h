#pragma once
#include <atomic>
#include <boost/asio/thread_pool.hpp>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "base/clock.h"
#include "isolation/cgroup/group.h"
#include "isolation/driver.h"
#include "isolation/vm/guest_files.h"
#include "isolation/vm/jail.h"
#include "isolation/vm/saved_states.h"
#include "rootfs/disk.h"

namespace atl::isolation {

// The microvm tier: each sandbox is a machine with a kernel of its own, in a VMM that is confined
// itself (vm/jail.h).
//
//   <state_dir>/sandboxes/ID/vm/    disk.img, control.sock, vmm.log, machine.json
//   <state_dir>/machine-disks/      the masters that disks are copied from
//   <state_dir>/machine-states/     disks of saved machines; this process's alone
//   <state_dir>/jail/               empty; jails are mounted on it, each in a namespace of its own
//   cgroups atoll-<instance>/ID     the VMM
//
// The first sandbox of a template and size boots. Meanwhile another machine of the same kind is booted
// up to where it waits for its boot message, and saved; what is created then is a clone of it.
//
// The VMM outlives the node and dials its channel again by itself. Process 1's standard error and
// the kernel's console are the boot log.
class VmDriver final : public Driver {
 public:
  struct Options {
    std::string instance = "main";
    std::string state_dir;             // Paths::node_dir()
    vm::GuestFiles::Options guest;
    std::string jail_path;             // atoll-jail
    std::string agent_path;            // for probe()
    std::uint32_t probe_uid_base = 0;  // a range that no sandbox has
    std::string mkfs_ext4 = "/usr/sbin/mkfs.ext4";
    // In the order of preference; each with another accelerator. An emulated one is tried only when
    // it is here, which is the operator's leave to be slow.
    std::vector<std::shared_ptr<vm::Vmm>> vmms;
    bool tried = false;                // the first of them is known to work: start() need not find out
    // Hardware boots in well under a second. Some hosts have a /dev/kvm that answers and yet runs no
    // stock kernel: those are not waited for.
    int hardware_trial_ms = 8'000;
    int save_boot_ms = 60'000;         // of a machine that is to be saved
    bool clones = true;                // false: every sandbox boots
    asio::thread_pool* pool = nullptr; // borrowed; outlives the driver
  };
  // Errc::unsupported where cgroups cannot be had. Needs root. Blocks for some 50 ms.
  static Result<std::unique_ptr<VmDriver>> open(Options options);
  ~VmDriver() override;

  Tier tier() const override { return Tier::microvm; }
  Task<Probe> probe() override;
  Task<Result<Started>> start(Spec spec) override;
  Task<Status> kill(std::string id) override;
  Task<Status> destroy(std::string id) override;
  Task<Result<Started>> adopt(Spec spec, ProcessId init) override;
  Task<std::vector<std::string>> leftovers() override;
  Task<Result<Usage>> usage(std::string id) override;

 private:
  struct Live {
    std::int64_t memory_limit_bytes = 0, disk_total_bytes = 0;
  };
  // What is kept of one start until the VMM has its own copies.
  struct Parts;
  VmDriver(Options options, cgroup::Parent parent, std::string filter, std::string command_line);

  // All of these block: they run on the pool.
  Result<Started> start_now(const Spec& spec, const vm::Vmm& vmm);
  Result<Started> start_from(const Spec& spec, const vm::Vmm& vmm, vm::SavedStatePtr saved);
  Result<Started> build(const Spec& spec, const vm::Vmm& vmm, vm::SavedStatePtr saved);
  Result<Parts> gather(const Spec& spec, vm::SavedStatePtr saved);
  Status note_facts(const Spec& spec, const vm::Vmm& vmm, vm::Start start) const;
  Result<ProcessId> launch(const Spec& spec, const vm::Vmm& vmm, Parts& parts, const cgroup::Group& group);
  vm::Machine machine_of(const Spec& spec, const Parts& parts) const;
  vm::Jail jail_of(const Spec& spec, const vm::Vmm& vmm, const Parts& parts, int filter) const;
  // The jail is emptied and verified before the guest's first instruction.
  Result<std::unique_ptr<vm::Control>> make_machine(const Spec& spec, const vm::Vmm& vmm, const cgroup::Group& group,
                                                    const Parts& parts, ProcessId process);
  // What a saved machine must have in common with a sandbox, as a name. "" = it must boot.
  Result<std::string> state_key(const Spec& spec, const vm::Vmm& vmm);
  void save_ahead(Spec spec, std::shared_ptr<vm::Vmm> vmm);
  Result<vm::SavedStatePtr> make_state(Spec spec, const vm::Vmm& vmm);
  Result<vm::SavedStatePtr> save_machine(const Spec& spec, const vm::Vmm& vmm, const std::string& disk);
  Spec own_spec(const std::string& id, const Limits& limits) const;
  Result<Started> receipt_of(const Spec& spec, ProcessId init, const cgroup::Group& group) const;
  Status destroy_now(const std::string& id);
  Result<Started> adopt_now(const Spec& spec, ProcessId init);
  std::vector<std::string> leftovers_now() const;
  Result<Usage> usage_now(const std::string& id);
  Probe probe_now();
  Status try_machine(const vm::Vmm& vmm, int within_ms);
  Result<std::shared_ptr<vm::Vmm>> vmm_that_works();
  Result<std::shared_ptr<vm::Vmm>> try_all();  // probe_mutex_ is held
  Limits vmm_limits(const Limits& asked, const vm::Vmm& vmm) const;
  Status check(const Spec& spec) const;

  std::string dir_of(const std::string& id) const { return options_.state_dir + "/sandboxes/" + id + "/vm"; }
  std::string disk_of(const std::string& id) const { return dir_of(id) + "/disk.img"; }

  const Options options_;
  const cgroup::Parent parent_;
  const std::string filter_, filter_sha256_;
  const std::string command_line_;
  const json::object host_facts_;
  const rootfs::DiskMaker disks_;
  vm::GuestFiles guest_;
  vm::SavedStates states_;
  std::mutex probe_mutex_, master_mutex_;
  std::atomic<bool> ending_ = false;       // no more waiting for a machine to come up
  std::shared_ptr<vm::Vmm> chosen_;        // guarded by probe_mutex_
  std::string refusals_;                   // why others were not chosen
  mutable std::mutex mutex_;               // guards what follows: pool threads meet here
  std::map<std::string, Live> live_;
  asio::thread_pool saving_{1};            // last: its thread uses all of the above
};

}  // namespace atl::isolation
