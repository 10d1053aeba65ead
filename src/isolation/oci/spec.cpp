#include "isolation/oci/spec.h"

#include <linux/capability.h>

#include "base/crypto.h"
#include "base/limits.h"
#include "isolation/oci/seccomp.h"
#include "rootfs/disk.h"

namespace atl::isolation::oci {
namespace {

constexpr std::int64_t kOpenFilesMax = 1'048'576, kOpenFilesUsual = 65'536;
constexpr std::size_t kHostnameBytesMax = 63;
constexpr std::size_t kBootConfigBytesMax = 1u << 20;  // agent/boot_config.h
constexpr std::int64_t kMemoryBytesMin = 16ll << 20, kMemoryBytesMax = 16ll << 40;
// Sandboxes go before the node's own processes when the host has no memory left.
constexpr int kOomScoreAdj = 500;

json::object mount(std::string_view to, std::string_view type, std::string_view from, json::array options) {
  return json::object{{"destination", to}, {"type", type}, {"source", from}, {"options", std::move(options)}};
}

json::object bind_mount(std::string_view to, std::string_view from, bool executable) {
  json::array options{"bind", "ro", "nosuid", "nodev"};
  if (!executable) options.push_back("noexec");
  return mount(to, "none", from, std::move(options));
}

// No sysfs on the container tier: it names the host's disks (and with them other sandboxes'
// images), modules and firmware. Programs look there for the number of CPUs and memory nodes.
void add_sys(json::array& mounts, Runtime runtime) {
  if (runtime == Runtime::runsc) {  // its own, made up
    mounts.push_back(mount("/sys", "sysfs", "sysfs", {"nosuid", "noexec", "nodev", "ro"}));
    return;
  }
  mounts.push_back(mount("/sys", "tmpfs", "tmpfs", {"nosuid", "noexec", "nodev", "ro", "mode=755", "size=64k"}));
  for (const char* path : {"/sys/devices/system/cpu", "/sys/devices/system/node"})
    mounts.push_back(bind_mount(path, path, false));
}

json::array capabilities() {
  json::array out;
  for (std::string_view capability : kCapabilities) out.push_back(json::string(capability));
  return out;
}

json::object process_of(const Plan& plan) {
  const auto open_files = std::min<std::int64_t>(kOpenFilesMax, static_cast<std::int64_t>(plan.open_files_max));
  return json::object{
      {"terminal", false},
      {"user", {{"uid", 0}, {"gid", 0}}},
      {"args", json::array{kAgentPath}},
      {"env", json::array{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}},
      {"cwd", "/"},
      // Inheritable and ambient stay empty: who is not root inside has none.
      {"capabilities",
       {{"bounding", capabilities()}, {"effective", capabilities()}, {"permitted", capabilities()}}},
      {"rlimits", json::array{json::object{{"type", "RLIMIT_NOFILE"}, {"hard", open_files}, {"soft", std::min(open_files, kOpenFilesUsual)}},
                              // A core dump would be written by the host's core_pattern.
                              json::object{{"type", "RLIMIT_CORE"}, {"hard", 0}, {"soft", 0}}}},
      {"oomScoreAdj", kOomScoreAdj},
      {"noNewPrivileges", false}};  // sudo must work
}

// crun joins a user namespace that the sandbox's own first user made (rootfs/user_namespace.h).
// runsc cannot, and makes one as root: what a program does inside its kernel makes no inotify
// instance, namespace or queue of the host's, so there is nothing that root would be charged for.
void add_user_namespace(json::object& linux, json::array& namespaces, const Plan& plan) {
  if (plan.runtime == Runtime::crun) {
    namespaces.push_back(
        json::object{{"type", "user"}, {"path", "/proc/self/fd/" + std::to_string(plan.user_namespace)}});
    return;
  }
  namespaces.push_back(json::object{{"type", "user"}});
  const json::array map{json::object{{"containerID", 0},
                                     {"hostID", plan.spec.uid_base},
                                     {"size", limits::uid_range_size}}};
  linux["uidMappings"] = map;
  linux["gidMappings"] = map;
}

json::object linux_of(const Plan& plan) {
  json::array namespaces;
  for (const char* type : {"mount", "pid", "ipc", "uts", "network", "cgroup"})
    namespaces.push_back(json::object{{"type", type}});
  json::object out{
      {"maskedPaths",
       json::array{"/proc/acpi", "/proc/asound", "/proc/bus", "/proc/kallsyms", "/proc/kcore", "/proc/keys",
                   "/proc/key-users", "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats",
                   "/proc/sched_debug", "/proc/scsi", "/proc/interrupts", "/proc/modules", "/proc/sysrq-trigger",
                   "/proc/kpagecount", "/proc/kpageflags", "/proc/kpagecgroup", "/proc/partitions",
                   "/proc/diskstats", "/sys/firmware", "/sys/kernel"}},
      {"readonlyPaths", json::array{"/proc/fs", "/proc/irq", "/proc/sys"}},
      // Limits are set on the cgroups by Atoll itself (cgroup/group.h).
      {"resources", json::object{}}};
  add_user_namespace(out, namespaces, plan);
  out["namespaces"] = std::move(namespaces);
  // The filter itself is in the annotation: the whole profile would cost crun milliseconds of
  // parsing. A runtime that does not know the annotation refuses every call, and starts nothing.
  if (plan.runtime == Runtime::crun) out["seccomp"] = json::object{{"defaultAction", "SCMP_ACT_ERRNO"}};
  return out;
}

bool is_id(std::string_view text) {
  if (text.empty() || text.size() > limits::id_bytes_max) return false;
  return std::all_of(text.begin(), text.end(), [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); });
}

bool is_hostname(std::string_view text) {
  if (text.empty() || text.size() > kHostnameBytesMax || text.front() == '-') return false;
  return std::all_of(text.begin(), text.end(), [](unsigned char c) { return std::isalnum(c) || c == '-'; });
}

// Bind sources: absolute, and free of what /proc/self/mountinfo or a runtime might read otherwise.
bool is_plain_path(std::string_view text) {
  return text.size() > 1 && text.size() < 4096 && text.front() == '/' &&
         std::all_of(text.begin(), text.end(), [](unsigned char c) { return c > 0x20 && c < 0x7f; });
}

Status in_range(std::string_view field, std::int64_t value, std::int64_t least, std::int64_t most) {
  if (value >= least && value <= most) return ok();
  return make_error(Errc::invalid, std::string(field) + ": " + std::to_string(value) + " is not in " +
                                       std::to_string(least) + ".." + std::to_string(most));
}

}  // namespace

std::uint64_t capability_mask() {
  std::uint64_t mask = 0;
  for (const int bit : {CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID, CAP_KILL, CAP_SETGID, CAP_SETUID,
                        CAP_SETPCAP, CAP_SETFCAP, CAP_NET_BIND_SERVICE, CAP_SYS_CHROOT})
    mask |= std::uint64_t{1} << bit;
  return mask;
}

Status check(const Spec& spec) {
  if (!is_id(spec.id)) return make_error(Errc::invalid, "id: must match [a-z0-9]{1,64}");
  if (!is_hostname(spec.hostname))
    return make_error(Errc::invalid, "hostname: letters, digits and '-', at most 63, not starting with '-'");
  if (!is_plain_path(spec.channel_dir) || !is_plain_path(spec.agent_path) || !is_plain_path(spec.log_path))
    return make_error(Errc::invalid, "channel_dir, agent_path and log_path: must be absolute, printable, without spaces");
  if (spec.boot_config.size() > kBootConfigBytesMax)
    return make_error(Errc::too_large, "boot config: more than 1 MiB; use fewer or shorter environment variables");
  // A range below would hold ids of the host's own users.
  CHECK_OK(in_range("uid_base", spec.uid_base, limits::uid_range_size, 0xFFFFFFFFll - 2 * limits::uid_range_size));
  CHECK_OK(in_range("vcpus", spec.limits.vcpus, 1, 1024));
  CHECK_OK(in_range("memory_bytes", spec.limits.memory_bytes, kMemoryBytesMin, kMemoryBytesMax));
  CHECK_OK(in_range("pids", spec.limits.pids, 8, 4'000'000));
  CHECK_OK(in_range("disk_bytes", spec.limits.disk_bytes, rootfs::kDiskBytesMin, rootfs::kDiskBytesMax));
  return in_range("inodes", spec.limits.inodes, rootfs::kInodesMin, rootfs::kInodesMax);
}

json::array make_mounts(const Plan& plan) {
  const std::string half_memory = "size=" + std::to_string(plan.spec.limits.memory_bytes / 2);
  json::array mounts{
      mount("/proc", "proc", "proc", {"nosuid", "noexec", "nodev"}),
      mount("/dev", "tmpfs", "tmpfs", {"nosuid", "noexec", "strictatime", "mode=755", "size=1m", "nr_inodes=4096"}),
      mount("/dev/pts", "devpts", "devpts",
            {"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5", "max=256"}),
      // Counted in the sandbox's memory as well.
      mount("/dev/shm", "tmpfs", "shm", {"nosuid", "noexec", "nodev", "mode=1777", json::string(half_memory)})};
  if (plan.runtime == Runtime::crun)
    mounts.push_back(mount("/dev/mqueue", "mqueue", "mqueue", {"nosuid", "noexec", "nodev"}));
  add_sys(mounts, plan.runtime);
  mounts.push_back(bind_mount(kChannelDir, plan.spec.channel_dir, false));
  // Read-only, so that nobody inside can overwrite the host's file through /proc/1/exe.
  mounts.push_back(bind_mount(kAgentPath, plan.spec.agent_path, true));
  return mounts;
}

json::object make_config(const Plan& plan) {
  json::object config{{"ociVersion", "1.0.2"},
                      {"process", process_of(plan)},
                      {"root", {{"path", plan.root}, {"readonly", false}}},
                      {"hostname", plan.spec.hostname},
                      {"mounts", make_mounts(plan)},
                      {"linux", linux_of(plan)}};
  // Instead of linux.seccomp.
  if (plan.runtime == Runtime::crun)
    config["annotations"] = json::object{{"run.oci.seccomp_bpf_data", base64(plan.seccomp_bpf)}};
  return config;
}

}  // namespace atl::isolation::oci
