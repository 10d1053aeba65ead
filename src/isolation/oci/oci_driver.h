#pragma once
#include <boost/asio/thread_pool.hpp>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "isolation/cgroup/group.h"
#include "isolation/driver.h"
#include "isolation/oci/runtime.h"
#include "rootfs/disk_pool.h"

namespace atl::isolation {

// The container tier by crun and the gvisor tier by runsc.
//
//   <state_dir>/sandboxes/ID/bundle/      config.json, pid, runtime.log
//   <state_dir>/runtimes/crun|runsc/      the runtime's own state
//   <scratch_dir>/ID/                     mount points, during a start only
//   cgroups atoll-<instance>/ID
//   disks: see rootfs/disk_pool.h
//
// Once process 1 runs, nothing of the sandbox is mounted in this process's namespace: its root lives
// by its own processes, its disk by the root, and so a crash of the node leaves nothing that a kill
// of the cgroup does not end. Sandboxes outlive the node.
class OciDriver final : public Driver {
 public:
  struct Options {
    Tier tier = Tier::container;       // container or gvisor
    std::string instance = "main";
    std::string runtime_path;          // crun or runsc
    std::string state_dir;             // Paths::node_dir()
    // Folder whose every parent others may pass (mode 0711), best on a tmpfs; "" =
    // /run/atoll-<instance>. The runtime walks it as the sandbox's root.
    std::string scratch_dir;
    std::string agent_path;            // for probe()
    std::uint32_t probe_uid_base = 0;  // a range that no sandbox has
    std::shared_ptr<rootfs::DiskPool> disks;
    asio::thread_pool* pool = nullptr; // borrowed; outlives the driver
  };
  // Errc::unsupported where cgroups cannot be had. Needs root. Blocks for a moment.
  static Result<std::unique_ptr<OciDriver>> open(Options options);
  // Sandboxes go on. Takes along the instance's cgroup and scratch folder where they are empty.
  ~OciDriver() override;

  Tier tier() const override { return options_.tier; }
  Task<Probe> probe() override;
  Task<Result<Started>> start(Spec spec) override;
  Task<Status> kill(std::string id) override;
  Task<Status> destroy(std::string id) override;
  Task<Result<Started>> adopt(Spec spec, ProcessId init) override;
  Task<std::vector<std::string>> leftovers() override;
  Task<Result<Usage>> usage(std::string id) override;

 private:
  // What is kept of a live sandbox. Lost with the process, and found again by adopt().
  struct Live {
    rootfs::Disk disk;
    std::int64_t memory_limit_bytes = 0;
  };
  OciDriver(Options options, cgroup::Parent parent, std::string seccomp_bpf);

  // All of these block: they run on the pool.
  Result<Started> start_now(const Spec& spec);
  Result<Started> build(const Spec& spec);
  Result<ProcessId> run_runtime(const Spec& spec, const cgroup::Group& group, const std::string& bundle,
                                int user_namespace) const;
  Result<Started> receipt_of(const Spec& spec, ProcessId init, const cgroup::Group& group) const;
  Status destroy_now(const std::string& id);
  Result<Started> adopt_now(const Spec& spec, ProcessId init);
  std::vector<std::string> leftovers_now() const;
  Result<Usage> usage_now(const std::string& id);
  Probe probe_now();
  Status try_sandbox();

  oci::Plan plan_of(const Spec& spec, int user_namespace = -1) const;
  std::string bundle_of(const std::string& id) const { return options_.state_dir + "/sandboxes/" + id + "/bundle"; }
  std::string scratch_of(const std::string& id) const { return options_.scratch_dir + "/" + id; }
  Result<std::string> version() const;

  const Options options_;
  const cgroup::Parent parent_;
  const std::string seccomp_bpf_;
  const oci::RuntimeTool tool_;
  const json::object host_facts_;
  mutable std::mutex mutex_;  // guards what follows: pool threads meet here
  std::map<std::string, std::shared_ptr<Live>> live_;
  mutable std::string version_;  // asked of the runtime once
};

}  // namespace atl::isolation
