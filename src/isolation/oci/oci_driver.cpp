#include "isolation/oci/oci_driver.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/blocking.h"
#include "base/fs.h"
#include "base/limits.h"
#include "isolation/host_facts.h"
#include "isolation/log_tail.h"
#include "isolation/oci/seccomp.h"
#include "isolation/oci/seccomp_filter.h"
#include "isolation/oci/stdio.h"
#include "isolation/oci/verify.h"
#include "rootfs/identity.h"
#include "rootfs/root.h"
#include "rootfs/user_namespace.h"

namespace atl::isolation {
namespace {

constexpr int kKillMs = 10'000;
constexpr int kRemoveMs = 5'000;

std::uint64_t open_files_max() {
  struct rlimit limit {};
  return ::getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_max : 1024;
}

// mkdir leaves out what the umask says; others must be able to pass through these.
Status make_passable(const std::string& folder) {
  CHECK_OK(make_dirs(folder, 0711));
  if (::chmod(folder.c_str(), 0711) != 0) return os_error("chmod", folder);
  return ok();
}

rootfs::DiskSize disk_size(const Limits& limits) { return {limits.disk_bytes, limits.inodes}; }

}  // namespace

OciDriver::OciDriver(Options options, cgroup::Parent parent, std::string seccomp_bpf)
    : options_(std::move(options)),
      parent_(std::move(parent)),
      seccomp_bpf_(std::move(seccomp_bpf)),
      tool_(options_.tier == Tier::container ? oci::Runtime::crun : oci::Runtime::runsc, options_.runtime_path,
            options_.state_dir + "/runtimes/" + (options_.tier == Tier::container ? "crun" : "runsc")),
      host_facts_(host_facts()) {}

Result<std::unique_ptr<OciDriver>> OciDriver::open(Options options) {
  if (options.tier == Tier::microvm) return make_error(Errc::unsupported, "the OCI driver has no microvm tier");
  if (options.scratch_dir.empty()) options.scratch_dir = "/run/atoll-" + options.instance;
  TRY(cgroup::Parent parent, cgroup::Parent::open(options.instance));
  TRY(std::string filter, oci::compile_seccomp(oci::seccomp_profile()));
  std::unique_ptr<OciDriver> driver(new OciDriver(std::move(options), std::move(parent), std::move(filter)));
  CHECK_OK(make_passable(driver->options_.scratch_dir));
  CHECK_OK(make_dirs(driver->tool_.state_root(), 0700));
  return driver;
}

OciDriver::~OciDriver() {
  parent_.remove_if_empty();
  ::rmdir(options_.scratch_dir.c_str());
}

oci::Plan OciDriver::plan_of(const Spec& spec, int user_namespace) const {
  return oci::Plan{tool_.kind(), spec, scratch_of(spec.id) + "/root", open_files_max(), seccomp_bpf_, user_namespace};
}

Result<std::string> OciDriver::version() const {
  {
    const std::lock_guard lock(mutex_);
    if (!version_.empty()) return version_;
  }
  TRY(std::string asked, tool_.version());
  const std::lock_guard lock(mutex_);
  version_ = asked;
  return asked;
}

Result<Started> OciDriver::start_now(const Spec& spec) {
  CHECK_OK(oci::check(spec));
  if (parent_.group(spec.id).exists() || exists(options_.disks->image_of(spec.id)))
    return make_error(Errc::exists, "sandbox " + spec.id + " exists on this host");
  auto started = build(spec);
  if (started.ok()) return started;
  const Status undone = destroy_now(spec.id);
  Error error = std::move(started).error();
  if (!undone.ok()) error.message += "; and undoing it: " + undone.error().message;
  return error;
}

Result<Started> OciDriver::build(const Spec& spec) {
  TRY(const rootfs::Template from, rootfs::Template::open(spec.template_dir));
  const cgroup::Group group = parent_.group(spec.id);
  CHECK_OK(group.create(spec.limits));
  auto live = std::make_shared<Live>();
  live->memory_limit_bytes = spec.limits.memory_bytes;
  TRY(live->disk, options_.disks->take(disk_size(spec.limits), spec.id, spec.uid_base));
  {
    const std::lock_guard lock(mutex_);
    live_[spec.id] = live;
  }
  CHECK_OK(make_passable(scratch_of(spec.id)));
  TRY(const UniqueFd users, rootfs::make_user_namespace(spec.uid_base, limits::uid_range_size));
  TRY(const rootfs::Mount root, rootfs::mount_root(from, live->disk, users.get(), scratch_of(spec.id)));
  CHECK_OK(rootfs::write_identity(root.path(), spec.hostname, spec.uid_base));
  if (tool_.kind() == oci::Runtime::runsc) CHECK_OK(rootfs::fill_tmp(root.path(), spec.uid_base));
  const std::string bundle = bundle_of(spec.id);
  CHECK_OK(make_dirs(bundle, 0700));
  {
    TRY(const UniqueFd created, open_fd(bundle + "/config.json", O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600));
  }
  CHECK_OK(write_file(bundle + "/config.json", json::serialize(oci::make_config(plan_of(spec, users.get())))));
  TRY(const ProcessId init, run_runtime(spec, group, bundle, users.get()));
  return receipt_of(spec, init, group);
}

Result<ProcessId> OciDriver::run_runtime(const Spec& spec, const cgroup::Group& group,
                                         const std::string& bundle, int user_namespace) const {
  TRY(const UniqueFd in, filled_pipe(spec.boot_config));
  TRY(const UniqueFd out, open_fd("/dev/null", O_WRONLY));
  TRY(const UniqueFd log, open_fd(spec.log_path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0600));
  TRY(const auto procs, group.join_fds());
  const std::string runtime_log = bundle + "/runtime.log", pid_file = bundle + "/pid";
  Command command = tool_.run(spec.id, bundle, pid_file, runtime_log);
  command.stdin_fd = in.get();
  command.stdout_fd = out.get();
  command.stderr_fd = log.get();
  if (tool_.kind() == oci::Runtime::crun) command.inherit_fds = {user_namespace};
  for (const UniqueFd& fd : procs) command.join_cgroup_fds.push_back(fd.get());
  TRY(const Finished finished, run(command));
  if (finished.exit_code != 0)
    return make_error(Errc::internal, std::string(tool_.name()) + " did not start sandbox " + spec.id + ": exit " +
                                          std::to_string(finished.exit_code) + ": " + log_tail(runtime_log));
  TRY(const std::string text, read_file(pid_file, 64));
  return identify(static_cast<pid_t>(std::strtol(text.c_str(), nullptr, 10)));
}

Result<Started> OciDriver::receipt_of(const Spec& spec, ProcessId init, const cgroup::Group& group) const {
  TRY(json::object fields, oci::verify(plan_of(spec), init.pid, group));
  TRY(const std::string runtime_version, version());
  // The number must still be the process that was looked at.
  if (!is_alive(init)) return make_error(Errc::internal, "process 1 of sandbox " + spec.id + " has ended");
  fields["tier"] = name(options_.tier);
  fields["driver"] = "oci";
  fields["runtime"] = tool_.name();
  fields["runtimeVersion"] = runtime_version;
  fields["posture"] = options_.tier == Tier::container ? "mistakes-only" : "hostile-code";
  fields["network"] = "loopback only";
  for (const auto& fact : host_facts_) fields[fact.key()] = fact.value();
  json::array mounts;
  for (const json::value& mount : oci::make_mounts(plan_of(spec)))
    mounts.push_back(json::object{{"destination", mount.at("destination")}, {"options", mount.at("options")}});
  fields["mounts"] = std::move(mounts);
  return Started{init, Receipt{std::move(fields)}};
}

Status OciDriver::destroy_now(const std::string& id) {
  std::shared_ptr<Live> live;
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = live_.find(id); found != live_.end()) {
      live = std::move(found->second);
      live_.erase(found);
    }
  }
  const cgroup::Group group = parent_.group(id);
  CHECK_OK(group.kill_all(kKillMs));
  CHECK_OK(tool_.forget(id));
  const std::string scratch = scratch_of(id);
  if (exists(scratch)) rootfs::remove_scratch(scratch);
  CHECK_OK(options_.disks->discard(id, live ? std::move(live->disk) : rootfs::Disk(), kRemoveMs));
  CHECK_OK(group.remove(kRemoveMs));
  CHECK_OK(remove_tree(bundle_of(id)));
  ::rmdir((options_.state_dir + "/sandboxes/" + id).c_str());  // the node's own files may keep it
  return ok();
}

Result<Started> OciDriver::adopt_now(const Spec& spec, ProcessId init) {
  auto whole = [&]() -> Result<Started> {
    CHECK_OK(oci::check(spec));
    if (!is_alive(init)) return make_error(Errc::not_found, "process 1 has ended");
    TRY(rootfs::Disk disk, rootfs::Disk::reopen(options_.disks->image_of(spec.id)));
    TRY(Started started, receipt_of(spec, init, parent_.group(spec.id)));
    auto live = std::make_shared<Live>(Live{std::move(disk), spec.limits.memory_bytes});
    const std::lock_guard lock(mutex_);
    live_[spec.id] = std::move(live);
    return started;
  };
  auto started = whole();
  if (started.ok()) return started;
  return make_error(Errc::not_found, "sandbox " + spec.id + " is not whole: " + started.error().message);
}

std::vector<std::string> OciDriver::leftovers_now() const {
  std::vector<std::string> ids = parent_.ids();
  for (std::string& id : tool_.ids()) ids.push_back(std::move(id));
  for (const std::string& id : options_.disks->ids()) ids.push_back(id);
  if (const auto names = list_dir(options_.state_dir + "/sandboxes"); names.ok())
    for (const std::string& id : *names)
      if (exists(bundle_of(id))) ids.push_back(id);
  if (const auto names = list_dir(options_.scratch_dir); names.ok()) ids.insert(ids.end(), names->begin(), names->end());
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return ids;
}

Result<Usage> OciDriver::usage_now(const std::string& id) {
  std::shared_ptr<Live> live;
  {
    const std::lock_guard lock(mutex_);
    const auto found = live_.find(id);
    if (found == live_.end()) return make_error(Errc::not_found, "sandbox " + id + " is not running here");
    live = found->second;
  }
  TRY(const cgroup::Counters counters, parent_.group(id).counters());
  TRY(const rootfs::DiskUse disk, live->disk.use());
  Usage out;
  out.cpu_usec = counters.cpu_usec;
  out.memory_bytes = counters.memory_bytes;
  out.memory_cache_bytes = counters.memory_cache_bytes;
  out.memory_limit_bytes = live->memory_limit_bytes;
  out.disk_used_bytes = disk.used_bytes;
  out.disk_total_bytes = disk.total_bytes;
  out.pids = counters.pids;
  out.oom_kills = counters.oom_kills;
  out.pids_refused = counters.pids_refused;
  return out;
}

Task<Result<Started>> OciDriver::start(Spec spec) {
  const rootfs::DiskSize size = disk_size(spec.limits);
  auto work = [this, spec = std::move(spec)] { return start_now(spec); };
  auto started = co_await run_blocking(*options_.pool, std::move(work));
  if (started.ok()) {
    // Owned by the pool's threads, which end before the driver's options do.
    asio::post(*options_.pool, [disks = options_.disks, size] {
      if (const Status filled = disks->refill(size); !filled.ok())
        log_warn("no disk made ahead", {{"error", filled.error().message}});
    });
  }
  co_return started;
}

Task<Status> OciDriver::kill(std::string id) {
  auto work = [this, id = std::move(id)] { return parent_.group(id).kill_all(kKillMs); };
  co_return co_await run_blocking(*options_.pool, std::move(work));
}

Task<Status> OciDriver::destroy(std::string id) {
  auto work = [this, id = std::move(id)] { return destroy_now(id); };
  co_return co_await run_blocking(*options_.pool, std::move(work));
}

Task<Result<Started>> OciDriver::adopt(Spec spec, ProcessId init) {
  auto work = [this, spec = std::move(spec), init] { return adopt_now(spec, init); };
  co_return co_await run_blocking(*options_.pool, std::move(work));
}

Task<std::vector<std::string>> OciDriver::leftovers() {
  auto work = [this] { return leftovers_now(); };
  co_return co_await run_blocking(*options_.pool, std::move(work));
}

Task<Result<Usage>> OciDriver::usage(std::string id) {
  auto work = [this, id = std::move(id)] { return usage_now(id); };
  co_return co_await run_blocking(*options_.pool, std::move(work));
}

Task<Probe> OciDriver::probe() {
  auto work = [this] { return probe_now(); };
  co_return co_await run_blocking(*options_.pool, std::move(work));
}

}  // namespace atl::isolation
