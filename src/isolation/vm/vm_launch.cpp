#include <fcntl.h>

#include "base/fs.h"
#include "isolation/log_tail.h"
#include "isolation/oci/stdio.h"
#include "isolation/unix_socket.h"
#include "isolation/vm/vm_parts.h"

// From a sandbox's files to a machine that is made and has not run yet.
namespace atl::isolation {
namespace {

constexpr int kMachineMs = 15'000;  // from the VMM's start until its machine is made

}  // namespace

Result<VmDriver::Parts> VmDriver::gather(const Spec& spec, vm::SavedStatePtr saved) {
  TRY(const rootfs::Template from, rootfs::Template::open(spec.template_dir));
  Parts parts;
  TRY(parts.initrd, guest_.initramfs(spec.agent_path));
  TRY(const std::string image, guest_.image(from));
  TRY(parts.image, open_fd(image, O_RDONLY));
  CHECK_OK(make_dirs(dir_of(spec.id), 0700));
  if (saved) {
    parts.start = vm::Start::clone;
    TRY(parts.disk, rootfs::copy_image(saved->disk, disk_of(spec.id)));
    parts.saved = std::move(saved);
  } else {
    const rootfs::DiskSize size{spec.limits.disk_bytes, spec.limits.inodes};
    const std::lock_guard lock(master_mutex_);
    CHECK_OK(disks_.prepare(size));
    TRY(parts.disk, disks_.make_image(size, disk_of(spec.id)));
  }
  TRY(parts.log, open_fd(spec.log_path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0600));
  TRY(parts.vmm_log, open_fd(dir_of(spec.id) + "/vmm.log", O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0600));
  TRY(parts.control, listen_unix(dir_of(spec.id) + "/control.sock", 0600));
  TRY(parts.boot, vm::open_boot_channel());
  return parts;
}

vm::Machine VmDriver::machine_of(const Spec& spec, const Parts& parts) const {
  vm::Machine machine;
  machine.vcpus = spec.limits.vcpus;
  machine.memory_bytes = spec.limits.memory_bytes;
  machine.command_line = command_line_;
  // A clone is described as the machine that was saved.
  if (parts.start != vm::Start::boot) machine.command_line += std::string(" ") + vm::kSaveOption;
  machine.root_image = parts.image.get();
  machine.disk = parts.disk.get();
  machine.log = parts.log.get();
  machine.boot = parts.boot.reader.get();
  machine.boot_peer = parts.boot.writer.get();
  machine.control = parts.control.get();
  machine.memory = parts.saved ? parts.saved->memory.get() : parts.memory.valid() ? parts.memory.get() : -1;
  return machine;
}

vm::Jail VmDriver::jail_of(const Spec& spec, const vm::Vmm& vmm, const Parts& parts, int filter) const {
  vm::Jail jail;
  jail.program = options_.jail_path;
  jail.root = options_.state_dir + "/jail";
  jail.channel_dir = spec.channel_dir;
  jail.kernel = guest_.kernel();
  jail.initrd = parts.initrd;
  jail.uid = spec.uid_base;
  jail.file_bytes_max = static_cast<std::uint64_t>(spec.limits.disk_bytes);
  jail.kvm = vmm.accelerator() == vm::Accelerator::kvm;
  jail.seccomp_fd = filter;
  return jail;
}

Result<ProcessId> VmDriver::launch(const Spec& spec, const vm::Vmm& vmm, Parts& parts, const cgroup::Group& group) {
  TRY(const UniqueFd filter, filled_pipe(filter_));
  Command command = vm::jail_command(jail_of(spec, vmm, parts, filter.get()), vmm.launch(machine_of(spec, parts), parts.start));
  TRY(const UniqueFd in, open_fd("/dev/null", O_RDONLY));
  command.stdin_fd = in.get();
  command.stderr_fd = parts.vmm_log.get();
  TRY(const auto procs, group.join_fds());
  for (const UniqueFd& fd : procs) command.join_cgroup_fds.push_back(fd.get());
  TRY(const Finished finished, run(command));
  if (finished.exit_code != 0)
    return make_error(Errc::internal, std::string(vmm.name()) + " did not start for sandbox " + spec.id + ": " +
                                          log_tail(dir_of(spec.id) + "/vmm.log"));
  // With the VMM's copy its socket goes too, so that its end is seen as such.
  parts.control.reset();
  return identify(static_cast<pid_t>(std::strtol(finished.out.c_str(), nullptr, 10)));
}

Result<std::unique_ptr<vm::Control>> VmDriver::make_machine(const Spec& spec, const vm::Vmm& vmm,
                                                            const cgroup::Group& group, const Parts& parts,
                                                            ProcessId process) {
  auto made = [&]() -> Result<std::unique_ptr<vm::Control>> {
    TRY(auto control, vmm.connect(dir_of(spec.id) + "/control.sock", kMachineMs));
    if (parts.saved) {
      // With a place in the file of its own, since clones read it side by side.
      TRY(const UniqueFd state, open_fd("/proc/self/fd/" + std::to_string(parts.saved->state.get()), O_RDONLY));
      CHECK_OK(vmm.saving()->load(*control, state.get()));
    }
    const vm::Machine machine = machine_of(spec, parts);
    const Command empty = vm::empty_command(jail_of(spec, vmm, parts, -1), vmm.launch(machine, parts.start), process.pid);
    TRY([[maybe_unused]] const std::string emptied, run_ok(empty));
    TRY([[maybe_unused]] const Started confined, receipt_of(spec, process, group));
    return control;
  }();
  if (made.ok()) return made;
  Error error = std::move(made).error();
  if (const std::string said = log_tail(dir_of(spec.id) + "/vmm.log"); !said.empty()) error.message += ": " + said;
  return error;
}

}  // namespace atl::isolation
