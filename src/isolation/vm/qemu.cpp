#include "isolation/vm/qemu.h"

#include <fmt/format.h>

#include "base/subprocess.h"

namespace atl::isolation::vm {
namespace {

constexpr int kCommandMs = 10'000;
constexpr int kSaveMs = 30'000;
// The buffer of translated code. QEMU's default is an eighth of the host's memory.
constexpr int kTranslationMiB = 64;

class QemuControl final : public Control {
 public:
  explicit QemuControl(Qmp q) : qmp(std::move(q)) {}
  Status run() override {
    TRY([[maybe_unused]] const json::value done, qmp.call("cont", {}, kCommandMs));
    return ok();
  }
  Qmp qmp;
};

// Descriptors by way of QEMU's sets: it opens /dev/fdset/N and gets a copy of ours.
std::string fdset(int fd) { return "/dev/fdset/" + std::to_string(fd); }

struct Arguments {
  std::vector<std::string> list;
  void add(const char* option) { list.emplace_back(option); }
  void add(const char* option, std::string value) {
    list.emplace_back(option);
    list.push_back(std::move(value));
  }
};

void add_machine(Arguments& args, const Machine& machine, Start start) {
  args.add("-m", fmt::format("{}M", machine.memory_bytes >> 20));
  args.add("-smp", std::to_string(machine.vcpus));
  if (machine.memory < 0) return;
  // What a clone writes stays its own; a machine that is to be saved leaves its memory in the file.
  args.add("-object", fmt::format("memory-backend-file,id=memory,size={}M,mem-path=/proc/self/fd/{},share={}",
                                  machine.memory_bytes >> 20, machine.memory, start == Start::clone ? "off" : "on"));
}

void add_ports(Arguments& args, const Machine& machine) {
  args.add("-device", "virtio-serial-device,max_ports=4");
  args.add("-chardev", fmt::format("socket,id=channel,path={}/channel.sock,reconnect=1", kJailChannel));
  args.add("-device", fmt::format("virtserialport,nr=1,chardev=channel,name={}", kChannelPort));
  args.add("-chardev", fmt::format("socket,id=boot,fd={}", machine.boot));
  args.add("-device", fmt::format("virtserialport,nr=2,chardev=boot,name={}", kBootPort));
  args.add("-chardev", fmt::format("file,id=log,path={},append=on", fdset(machine.log)));
  args.add("-device", fmt::format("virtserialport,nr=3,chardev=log,name={}", kLogPort));
  args.add("-chardev", fmt::format("file,id=console,path={},append=on", fdset(machine.log)));
  args.add("-serial", "chardev:console");
}

void add_disks(Arguments& args, const Machine& machine) {
  args.add("-drive", fmt::format("if=none,id=root,file={},file.locking=off,format=raw,readonly=on", fdset(machine.root_image)));
  args.add("-device", fmt::format("virtio-blk-device,drive=root,serial={}", kRootSerial));
  // unsafe: flushes are not carried out, since the disk does not outlive the sandbox.
  args.add("-drive", fmt::format("if=none,id=disk,file={},file.locking=off,format=raw,auto-read-only=off,cache=unsafe,"
                                 "discard=unmap",
                                 fdset(machine.disk)));
  args.add("-device", fmt::format("virtio-blk-device,drive=disk,serial={}", kDiskSerial));
}

}  // namespace

std::int64_t Qemu::overhead_bytes() const {
  // QEMU itself, its threads' stacks and page tables; then the translated code and what describes it.
  constexpr std::int64_t kOwn = 96ll << 20, kTranslation = 2ll * kTranslationMiB << 20;
  return options_.accelerator == Accelerator::kvm ? kOwn : kOwn + kTranslation;
}

Result<std::string> Qemu::version() const {
  const std::lock_guard lock(mutex_);
  if (!version_.empty()) return version_;
  Command command;
  command.argv = {options_.path, "--version"};
  command.timeout_ms = 5'000;
  auto said = run_ok(command);
  if (!said.ok()) return with_context(std::move(said).error(), "QEMU");
  std::string line = said->substr(0, said->find('\n'));
  // "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)"
  const std::string prefix = "QEMU emulator version ";
  if (line.rfind(prefix, 0) == 0) line.erase(0, prefix.size());
  version_ = line;
  return line;
}

Launch Qemu::launch(const Machine& machine, Start start) const {
  const bool kvm = options_.accelerator == Accelerator::kvm;
  Arguments args;
  args.list = {options_.path, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-S"};
  args.add("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
  args.add("-M", std::string("microvm,rtc=off,isa-serial=on") + (machine.memory >= 0 ? ",memory-backend=memory" : ""));
  args.add("-accel", kvm ? std::string("kvm") : fmt::format("tcg,thread=multi,tb-size={}", kTranslationMiB));
  args.add("-cpu", kvm ? "host" : "max");
  args.add("-bios", options_.firmware);
  add_machine(args, machine, start);
  args.add("-kernel", kJailKernel);
  args.add("-initrd", kJailInitrd);
  args.add("-append", machine.command_line);
  for (const int fd : {machine.root_image, machine.disk, machine.log})
    args.add("-add-fd", fmt::format("fd={0},set={0}", fd));
  add_ports(args, machine);
  add_disks(args, machine);
  // A clone's memory is a private copy of a sealed file, from which nothing can be given back.
  args.add("-device", start == Start::boot ? "virtio-balloon-device,deflate-on-oom=on,free-page-reporting=on"
                                           : "virtio-balloon-device,deflate-on-oom=on");
  args.add("-chardev", fmt::format("socket,id=control,fd={},server=on,wait=off", machine.control));
  args.add("-mon", "chardev=control,mode=control");
  if (start == Start::clone) args.add("-incoming", "defer");

  Launch out;
  out.argv = std::move(args.list);
  out.binds = {{"/usr", "/usr"}};
  out.fds = {machine.root_image, machine.disk, machine.log, machine.boot, machine.boot_peer, machine.control};
  if (machine.memory >= 0) out.fds.push_back(machine.memory);
  return out;
}

Result<std::unique_ptr<Control>> Qemu::connect(const std::string& socket, int within_ms) const {
  TRY(Qmp qmp, Qmp::connect(socket, within_ms));
  return std::unique_ptr<Control>(std::make_unique<QemuControl>(std::move(qmp)));
}

namespace {

Status leave_memory_out(Qmp& qmp) {
  json::array capabilities{json::object{{"capability", "x-ignore-shared"}, {"state", true}}};
  TRY([[maybe_unused]] const json::value set,
      qmp.call("migrate-set-capabilities", json::object{{"capabilities", std::move(capabilities)}}, kCommandMs));
  return ok();
}

// Until the migration that was begun has ended, well or badly.
Status await_migration(Qmp& qmp) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(kSaveMs);
  timespec pause{0, 500'000};
  while (std::chrono::steady_clock::now() < until) {
    TRY(const json::value info, qmp.call("query-migrate", {}, kCommandMs));
    const JsonReader reader(info);
    CHECK_OK(reader.require_object());
    TRY(const auto status, reader.opt_string("status", 64));
    if (status == "completed") return ok();
    if (status == "failed" || status == "cancelled")
      return make_error(Errc::internal, "QEMU could not save or load the machine: " + *status);
    ::nanosleep(&pause, nullptr);
    pause.tv_nsec = std::min(pause.tv_nsec * 2, 20'000'000l);
  }
  return make_error(Errc::deadline, "QEMU did not save or load the machine in time");
}

}  // namespace

Status Qemu::save(Control& control, int state) const {
  Qmp& qmp = static_cast<QemuControl&>(control).qmp;
  CHECK_OK(leave_memory_out(qmp));
  TRY([[maybe_unused]] const json::value stopped, qmp.call("stop", {}, kCommandMs));
  TRY([[maybe_unused]] const json::value taken,
      qmp.call("getfd", json::object{{"fdname", "state"}}, kCommandMs, state));
  TRY([[maybe_unused]] const json::value begun, qmp.call("migrate", json::object{{"uri", "fd:state"}}, kCommandMs));
  return await_migration(qmp);
}

Status Qemu::load(Control& control, int state) const {
  Qmp& qmp = static_cast<QemuControl&>(control).qmp;
  CHECK_OK(leave_memory_out(qmp));
  TRY([[maybe_unused]] const json::value taken,
      qmp.call("getfd", json::object{{"fdname", "state"}}, kCommandMs, state));
  TRY([[maybe_unused]] const json::value begun,
      qmp.call("migrate-incoming", json::object{{"uri", "fd:state"}}, kCommandMs));
  return await_migration(qmp);
}

}  // namespace atl::isolation::vm
