#include "node/probe.h"

#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>

#include "base/fs.h"
#include "isolation/oci/host_namespace.h"
#include "node/drivers.h"

namespace atl::node {
namespace {

constexpr Millis kProbeMost{120'000};

json::object json_of(const Tiers::Found& found) {
  return {{"name", isolation::name(found.tier)},
          {"works", found.probe.works},
          {"slow", found.probe.slow},
          {"reason", found.probe.reason},
          {"runtime", found.probe.runtime},
          {"version", found.probe.version},
          {"posture", posture(found.tier)},
          {"auto", found.is_auto}};
}

Task<void> find_out(Tiers& tiers, asio::io_context& io, std::vector<Tiers::Found>& found) {
  tiers.start_probes(io.get_executor());
  found = co_await tiers.all(kProbeMost);
  io.stop();
}

// A folder of its own, so that a running node and its sandboxes are not touched; the cgroups are
// told apart by the probes' random ids.
Config apart(const Config& config) {
  Config out = config;
  out.paths.root = "/run/atoll-probe-" + std::to_string(::getpid());
  if (out.guest_kernel_dir.empty()) out.guest_kernel_dir = config.paths.guest_kernel_dir();
  if (out.runsc_path.empty() && exists(config.paths.runtimes_dir() + "/runsc"))
    out.runsc_path = config.paths.runtimes_dir() + "/runsc";
  return out;
}

}  // namespace

int run_probe(const Config& asked) {
  if (::geteuid() != 0) {
    std::fprintf(stderr, "atolld: probe needs root: it starts a small sandbox on each tier\n");
    return 1;
  }
  const Config config = apart(asked);
  std::vector<Tiers::Found> found;
  auto ready = make_dirs(config.paths.sandboxes_dir(), 0755);
  if (ready.ok()) ready = make_dirs(config.paths.disks_dir(), 0700);
  if (ready.ok()) ready = isolation::enter_private_mount_namespace();
  if (ready.ok()) {
    asio::thread_pool pool(4);
    asio::io_context io(1);
    Drivers drivers = open_drivers(config, pool);
    Tiers tiers(std::move(drivers.open), std::move(drivers.missing));
    spawn(io.get_executor(), "probe", find_out(tiers, io, found));
    io.run();
    pool.join();
  } else {
    std::fprintf(stderr, "atolld: %s\n", ready.error().message.c_str());
  }
  // runsc leaves a mount below its state, in this process's namespace; it keeps the folder in use.
  ::umount2((config.paths.node_dir() + "/runtimes/runsc/null-netns").c_str(), MNT_DETACH);
  if (const auto removed = remove_tree(config.paths.root); !removed.ok())
    std::fprintf(stderr, "atolld: %s\n", removed.error().message.c_str());
  json::array tiers;
  bool any = false;
  for (const auto& one : found) {
    tiers.push_back(json_of(one));
    any = any || one.probe.works;
  }
  std::printf("%s\n", json::serialize(json::object{{"tiers", std::move(tiers)}}).c_str());
  return any ? 0 : 1;
}

}  // namespace atl::node
