#include "isolation/vm/jail.h"

#include "base/json.h"
#include "isolation/oci/seccomp_filter.h"

namespace atl::isolation::vm {
namespace {

constexpr int kStartMs = 20'000;
constexpr std::uint64_t kOpenFilesMax = 1024;

constexpr const char* kRefused[] = {
    "mount", "umount2", "pivot_root", "chroot", "move_mount", "open_tree", "fsopen", "fsconfig", "fsmount", "fspick",
    "mount_setattr", "setns", "unshare", "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise",
    "pidfd_getfd", "kcmp", "bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "io_uring_enter",
    "io_uring_register", "keyctl", "add_key", "request_key", "kexec_load", "kexec_file_load", "init_module",
    "finit_module", "delete_module", "open_by_handle_at", "name_to_handle_at", "fanotify_init", "quotactl",
    "quotactl_fd", "swapon", "swapoff", "reboot", "settimeofday", "clock_settime", "clock_adjtime", "adjtimex", "acct",
    "syslog", "iopl", "ioperm", "modify_ldt", "personality", "sethostname", "setdomainname", "vhangup", "lookup_dcookie",
    "mknod", "mknodat", "setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setgroups",
    "migrate_pages", "move_pages"};

void add(std::vector<std::string>& to, std::initializer_list<std::string> words) {
  to.insert(to.end(), words.begin(), words.end());
}

}  // namespace

Command jail_command(const Jail& jail, const Launch& launch) {
  Command out;
  out.argv = {jail.program, "run", jail.root, std::to_string(jail.uid), std::to_string(kOpenFilesMax),
              std::to_string(jail.file_bytes_max), std::to_string(jail.seccomp_fd), "--proc"};
  for (const Bind& bind : launch.binds) add(out.argv, {"--bind", bind.source, bind.target});
  add(out.argv, {"--bind", jail.kernel, kJailKernel, "--bind", jail.initrd, kJailInitrd});
  add(out.argv, {"--bind", jail.channel_dir, kJailChannel});
  if (jail.kvm) add(out.argv, {"--device", "kvm", "10", "232"});  // include/linux/miscdevice.h
  out.argv.push_back("--");
  out.argv.insert(out.argv.end(), launch.argv.begin(), launch.argv.end());
  out.inherit_fds = launch.fds;
  out.inherit_fds.push_back(jail.seccomp_fd);
  out.timeout_ms = kStartMs;
  return out;
}

Command empty_command(const Jail& jail, const Launch& launch, pid_t vmm) {
  Command out;
  out.argv = {jail.program, "empty", std::to_string(vmm)};
  for (const Bind& bind : launch.binds) out.argv.push_back(bind.target);
  add(out.argv, {kJailKernel, kJailInitrd, "/boot", "/proc", "/lib", "/lib64"});
  if (jail.kvm) add(out.argv, {"/dev/kvm", "/dev"});
  out.timeout_ms = kStartMs;
  return out;
}

Result<std::string> jail_filter() {
  json::array names;
  for (const char* name : kRefused) names.push_back(json::string(name));
  json::array rules{json::object{{"names", std::move(names)}, {"action", "SCMP_ACT_ERRNO"}}};
  return oci::compile_seccomp(json::object{{"action", "SCMP_ACT_ALLOW"}, {"syscalls", std::move(rules)}});
}

}  // namespace atl::isolation::vm
