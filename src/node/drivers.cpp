#include "node/drivers.h"

#include "base/fs.h"
#include "base/limits.h"
#include "isolation/oci/oci_driver.h"
#include "isolation/vm/qemu.h"
#include "isolation/vm/vm_driver.h"
#include "node/node.h"

namespace atl::node {
namespace {

std::string runsc_of(const Config& config) {
  if (!config.runsc_path.empty()) return config.runsc_path;
  const std::string own = config.paths.runtimes_dir() + "/runsc";
  for (const std::string& path : {own, std::string("/usr/bin/runsc"), std::string("/usr/local/bin/runsc")})
    if (exists(path)) return path;
  return own;  // its absence is what the probe then tells
}

isolation::VmDriver::Options vm_options(const Config& config, std::uint32_t probe_range, asio::thread_pool& pool) {
  isolation::VmDriver::Options options;
  options.instance = config.instance;
  options.state_dir = config.paths.node_dir();
  options.guest.kernel_dir = config.guest_kernel_dir.empty() ? config.paths.guest_kernel_dir() : config.guest_kernel_dir;
  options.guest.dir = config.paths.guest_dir();
  options.jail_path = config.jail_path;
  options.agent_path = config.agent_path;
  options.probe_uid_base = config.uid_first + probe_range * static_cast<std::uint32_t>(limits::uid_range_size);
  options.pool = &pool;
  isolation::vm::Qemu::Options qemu;
  qemu.path = config.qemu_path;
  options.vmms.push_back(std::make_shared<isolation::vm::Qemu>(qemu));
  if (config.microvm_slow) {
    qemu.accelerator = isolation::vm::Accelerator::emulation;
    options.vmms.push_back(std::make_shared<isolation::vm::Qemu>(qemu));
  }
  return options;
}

}  // namespace

Drivers open_drivers(const Config& config, asio::thread_pool& pool) {
  rootfs::DiskPool::Options disk_options;
  disk_options.dir = config.paths.disks_dir();
  const auto disks = std::make_shared<rootfs::DiskPool>(std::move(disk_options));
  Drivers out;
  std::uint32_t probe_range = Node::sandbox_ranges(config);
  for (const isolation::Tier tier : {isolation::Tier::container, isolation::Tier::gvisor}) {
    isolation::OciDriver::Options options;
    options.tier = tier;
    options.instance = config.instance;
    options.runtime_path = tier == isolation::Tier::container ? config.crun_path : runsc_of(config);
    options.state_dir = config.paths.node_dir();
    options.agent_path = config.agent_path;
    options.probe_uid_base =
        config.uid_first + probe_range++ * static_cast<std::uint32_t>(limits::uid_range_size);
    options.disks = disks;
    options.pool = &pool;
    auto driver = isolation::OciDriver::open(std::move(options));
    if (driver.ok())
      out.open.push_back(std::move(*driver));
    else
      out.missing.push_back({tier, driver.error().message});
  }
  auto machines = isolation::VmDriver::open(vm_options(config, probe_range, pool));
  if (machines.ok())
    out.open.push_back(std::move(*machines));
  else
    out.missing.push_back({isolation::Tier::microvm, machines.error().message});
  return out;
}

}  // namespace atl::node
