#include "isolation/vm/vm_driver.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "base/blocking.h"
#include "base/crypto.h"
#include "base/fs.h"
#include "isolation/host_facts.h"
#include "isolation/oci/spec.h"
#include "isolation/vm/boot_message.h"
#include "isolation/vm/tsc.h"
#include "isolation/vm/verify.h"
#include "isolation/vm/vm_parts.h"

namespace atl::isolation {
namespace {

constexpr int kKillMs = 10'000, kRemoveMs = 5'000;
// The kernel, its modules and the agent need so much to come up.
constexpr std::int64_t kMemoryBytesMin = 128ll << 20;
constexpr std::size_t kEntropyBytes = 64;  // agent/machine/boot_message.h

std::int64_t unix_nanos() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

}  // namespace

VmDriver::VmDriver(Options options, cgroup::Parent parent, std::string filter, std::string command_line)
    : options_(std::move(options)),
      parent_(std::move(parent)),
      filter_(std::move(filter)),
      filter_sha256_(sha256_hex(filter_)),
      command_line_(std::move(command_line)),
      host_facts_(host_facts()),
      disks_(options_.state_dir + "/machine-disks", options_.mkfs_ext4),
      guest_(options_.guest) {
  if (options_.tried && !options_.vmms.empty()) chosen_ = options_.vmms.front();
}

Result<std::unique_ptr<VmDriver>> VmDriver::open(Options options) {
  TRY(cgroup::Parent parent, cgroup::Parent::open(options.instance));
  TRY(std::string filter, vm::jail_filter());
  CHECK_OK(make_dirs(options.state_dir + "/jail", 0700));
  // What an earlier process saved is bound to memory that went with it.
  CHECK_OK(remove_tree(options.state_dir + "/machine-states"));
  std::string command_line = vm::kernel_command_line(vm::measure_tsc_khz());
  return std::unique_ptr<VmDriver>(
      new VmDriver(std::move(options), std::move(parent), std::move(filter), std::move(command_line)));
}

VmDriver::~VmDriver() {
  ending_ = true;
  saving_.stop();
  saving_.join();
  parent_.remove_if_empty();
}

Status VmDriver::check(const Spec& spec) const {
  CHECK_OK(oci::check(spec));
  if (spec.limits.memory_bytes >= kMemoryBytesMin && spec.limits.memory_bytes % (1 << 20) == 0) return ok();
  return make_error(Errc::invalid, "memory_bytes: " + std::to_string(spec.limits.memory_bytes) +
                                       ", but a microvm has its own kernel and needs 128 MiB or more, in whole MiB");
}

Limits VmDriver::vmm_limits(const Limits& asked, const vm::Vmm& vmm) const {
  Limits out = asked;
  out.memory_bytes = asked.memory_bytes + vmm.overhead_bytes();
  // One more than its vCPUs: the thread that serves its disks and ports must not take their time.
  out.vcpus = asked.vcpus + 1;
  out.pids = asked.vcpus + vmm.threads_max();
  return out;
}

Result<Started> VmDriver::start_now(const Spec& spec, const vm::Vmm& vmm) {
  CHECK_OK(check(spec));
  if (parent_.group(spec.id).exists() || exists(dir_of(spec.id)))
    return make_error(Errc::exists, "sandbox " + spec.id + " exists on this host");
  TRY(const std::string key, state_key(spec, vmm));
  if (const auto saved = key.empty() ? nullptr : states_.find(key)) {
    auto cloned = start_from(spec, vmm, saved);
    if (cloned.ok()) return cloned;
    log_warn("a saved machine did not go on; booting instead, now and later",
             {{"sandbox", spec.id}, {"error", cloned.error().message}});
    states_.drop(key);
  }
  return start_from(spec, vmm, nullptr);
}

Result<Started> VmDriver::start_from(const Spec& spec, const vm::Vmm& vmm, vm::SavedStatePtr saved) {
  auto started = build(spec, vmm, std::move(saved));
  if (started.ok()) return started;
  const Status undone = destroy_now(spec.id);
  Error error = std::move(started).error();
  if (!undone.ok()) error.message += "; and undoing it: " + undone.error().message;
  return error;
}

Result<Started> VmDriver::build(const Spec& spec, const vm::Vmm& vmm, vm::SavedStatePtr saved) {
  TRY(Parts parts, gather(spec, saved));
  const cgroup::Group group = parent_.group(spec.id);
  CHECK_OK(group.create(vmm_limits(spec.limits, vmm)));
  CHECK_OK(note_facts(spec, vmm, parts.start));
  {
    const std::lock_guard lock(mutex_);
    live_[spec.id] = Live{spec.limits.memory_bytes, spec.limits.disk_bytes};
  }
  TRY(const ProcessId process, launch(spec, vmm, parts, group));
  TRY(const auto control, make_machine(spec, vmm, group, parts, process));
  // The guest takes the time in it as that of its first instruction.
  TRY(const std::string message, vm::boot_message(spec, unix_nanos(), random_bytes(kEntropyBytes)));
  CHECK_OK(vm::send_boot_message(parts.boot, message));
  CHECK_OK(control->run());
  return receipt_of(spec, process, group);
}

Status VmDriver::note_facts(const Spec& spec, const vm::Vmm& vmm, vm::Start start) const {
  TRY(const std::string version, vmm.version());
  TRY(const std::string release, guest_.kernel_release());
  const json::object facts{{"runtime", vmm.name()},
                           {"runtimeVersion", version},
                           {"accelerator", vm::name(vmm.accelerator())},
                           {"guestKernel", release},
                           {"startedFrom", start == vm::Start::clone ? "clone" : "boot"},
                           {"vmmMemoryBytes", vmm_limits(spec.limits, vmm).memory_bytes}};
  return write_file_atomic(dir_of(spec.id) + "/machine.json", json::serialize(facts), 0600);
}

Result<Started> VmDriver::receipt_of(const Spec& spec, ProcessId init, const cgroup::Group& group) const {
  TRY(const std::string text, read_file(dir_of(spec.id) + "/machine.json", 65536));
  TRY(json::value facts, parse_json(text));
  const JsonReader reader(facts);
  CHECK_OK(reader.require_object());
  TRY(const std::string accelerator, reader.string("accelerator", 64));
  TRY(const auto vmm_memory, reader.opt_int("vmmMemoryBytes", 0, INT64_MAX));
  vm::Confined asked{spec.uid_base,     spec.limits.memory_bytes, vmm_memory.value_or(0),
                     spec.limits.pids,  spec.limits.disk_bytes,   spec.limits.inodes};
  TRY(json::object fields, vm::verify(asked, init.pid, group));
  // The number must still be the process that was looked at.
  if (!is_alive(init)) return make_error(Errc::internal, "the VMM of sandbox " + spec.id + " has ended");
  facts.as_object().erase("vmmMemoryBytes");
  for (const auto& fact : facts.as_object()) fields[fact.key()] = fact.value();
  fields["tier"] = name(Tier::microvm);
  fields["driver"] = "vm";
  fields["posture"] = "hostile-code";
  // An emulator runs the guest's instructions in its own process; its bugs are what a guest meets.
  fields["slow"] = accelerator != "kvm";
  fields["seccompSha256"] = filter_sha256_;
  fields["network"] = "loopback only";
  fields["mounts"] = json::array{
      json::object{{"destination", "/"}, {"options", json::array{"overlay in the guest: erofs image, ext4 disk"}}}};
  for (const auto& fact : host_facts_) fields[fact.key()] = fact.value();
  return Started{init, Receipt{std::move(fields)}};
}

Status VmDriver::destroy_now(const std::string& id) {
  {
    const std::lock_guard lock(mutex_);
    live_.erase(id);
  }
  const cgroup::Group group = parent_.group(id);
  CHECK_OK(group.kill_all(kKillMs));
  CHECK_OK(remove_tree(dir_of(id)));
  CHECK_OK(group.remove(kRemoveMs));
  ::rmdir((options_.state_dir + "/sandboxes/" + id).c_str());  // the node's own files may keep it
  return ok();
}

Result<Started> VmDriver::adopt_now(const Spec& spec, ProcessId init) {
  auto whole = [&]() -> Result<Started> {
    CHECK_OK(check(spec));
    if (!is_alive(init)) return make_error(Errc::not_found, "its VMM has ended");
    TRY(Started started, receipt_of(spec, init, parent_.group(spec.id)));
    const std::lock_guard lock(mutex_);
    live_[spec.id] = Live{spec.limits.memory_bytes, spec.limits.disk_bytes};
    return started;
  };
  auto started = whole();
  if (started.ok()) return started;
  return make_error(Errc::not_found, "sandbox " + spec.id + " is not whole: " + started.error().message);
}

std::vector<std::string> VmDriver::leftovers_now() const {
  std::vector<std::string> ids = parent_.ids();
  if (const auto names = list_dir(options_.state_dir + "/sandboxes"); names.ok())
    for (const std::string& id : *names)
      if (exists(dir_of(id))) ids.push_back(id);
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return ids;
}

Result<Usage> VmDriver::usage_now(const std::string& id) {
  Live live;
  {
    const std::lock_guard lock(mutex_);
    const auto found = live_.find(id);
    if (found == live_.end()) return make_error(Errc::not_found, "sandbox " + id + " is not running here");
    live = found->second;
  }
  TRY(const cgroup::Counters counters, parent_.group(id).counters());
  struct stat disk {};
  if (::stat(disk_of(id).c_str(), &disk) != 0) return os_error("stat", disk_of(id));
  Usage out;
  out.cpu_usec = counters.cpu_usec;
  out.memory_bytes = counters.memory_bytes;
  out.memory_cache_bytes = counters.memory_cache_bytes;
  out.memory_limit_bytes = live.memory_limit_bytes;
  out.disk_used_bytes = disk.st_blocks * 512ll;
  out.disk_total_bytes = live.disk_total_bytes;
  out.pids = counters.pids;
  out.oom_kills = counters.oom_kills;
  return out;
}

Task<Result<Started>> VmDriver::start(Spec spec) {
  auto work = [this, spec = std::move(spec)]() -> Result<Started> {
    TRY(const auto vmm, vmm_that_works());
    auto started = start_now(spec, *vmm);
    if (started.ok()) save_ahead(spec, vmm);
    return started;
  };
  co_return co_await run_blocking(*options_.pool, std::move(work));
}

Task<Status> VmDriver::kill(std::string id) {
  auto work = [this, id = std::move(id)] { return parent_.group(id).kill_all(kKillMs); };
  co_return co_await run_blocking(*options_.pool, std::move(work));
}

Task<Status> VmDriver::destroy(std::string id) {
  auto work = [this, id = std::move(id)] { return destroy_now(id); };
  co_return co_await run_blocking(*options_.pool, std::move(work));
}

Task<Result<Started>> VmDriver::adopt(Spec spec, ProcessId init) {
  auto work = [this, spec = std::move(spec), init] { return adopt_now(spec, init); };
  co_return co_await run_blocking(*options_.pool, std::move(work));
}

Task<std::vector<std::string>> VmDriver::leftovers() {
  auto work = [this] { return leftovers_now(); };
  co_return co_await run_blocking(*options_.pool, std::move(work));
}

Task<Result<Usage>> VmDriver::usage(std::string id) {
  auto work = [this, id = std::move(id)] { return usage_now(id); };
  co_return co_await run_blocking(*options_.pool, std::move(work));
}

Task<Probe> VmDriver::probe() {
  auto work = [this] { return probe_now(); };
  co_return co_await run_blocking(*options_.pool, std::move(work));
}

}  // namespace atl::isolation
