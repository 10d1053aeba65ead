#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include <boost/asio/post.hpp>

#include "base/crypto.h"
#include "base/fs.h"
#include "isolation/vm/vm_parts.h"

// Saved machines: made ahead, once for each template and size.
namespace atl::isolation {
namespace {

constexpr std::size_t kLogBytesMax = 256 * 1024;

// Until the guest's agent says so in its log, or the VMM ends. Nothing but our own agent has run.
Status await_line(const std::string& log, const ProcessId& vmm, int within_ms, const std::atomic<bool>& ending) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(within_ms);
  const timespec pause{0, 20'000'000};
  while (std::chrono::steady_clock::now() < until && !ending) {
    const auto text = read_file(log, kLogBytesMax);
    if (text.ok() && text->find(vm::kWaits) != std::string::npos) return ok();
    if (!is_alive(vmm)) return make_error(Errc::unavailable, "its VMM ended; its console: " + json_escape(text.ok() ? *text : ""));
    ::nanosleep(&pause, nullptr);
  }
  return make_error(Errc::deadline, "it did not come up within " + std::to_string(within_ms) + " ms");
}

}  // namespace

Result<std::string> VmDriver::state_key(const Spec& spec, const vm::Vmm& vmm) {
  if (!options_.clones || !vmm.saving()) return std::string();
  TRY(const rootfs::Template from, rootfs::Template::open(spec.template_dir));
  TRY(const std::string version, vmm.version());
  TRY(const std::string release, guest_.kernel_release());
  TRY(const std::string initrd, guest_.initramfs(spec.agent_path));
  TRY(const std::string image, guest_.image(from));
  json::array of{vmm.name(),           version, vm::name(vmm.accelerator()), release, initrd, image, command_line_,
                 spec.limits.vcpus,    spec.limits.memory_bytes,             spec.limits.disk_bytes, spec.limits.inodes};
  return sha256_hex(json::serialize(of));
}

void VmDriver::save_ahead(Spec spec, std::shared_ptr<vm::Vmm> vmm) {
  const auto key = state_key(spec, *vmm);
  if (!key.ok() || key->empty() || !states_.begin(*key)) return;
  // One after the other, and not on the node's pool: a save takes seconds, and what waits for it must
  // not keep a create or a kill from a thread.
  asio::post(saving_, [this, spec = std::move(spec), vmm, key = *key]() mutable {
    auto made = make_state(std::move(spec), *vmm);
    if (made.ok()) {
      log_info("a machine was saved for clones", {{"state", key.substr(0, 16)}});
      return states_.put(key, std::move(*made));
    }
    states_.failed(key);
    log_warn("no machine could be saved: sandboxes of this kind boot", {{"error", made.error().message}});
  });
}

Spec VmDriver::own_spec(const std::string& id, const Limits& limits) const {
  const std::string dir = options_.state_dir + "/" + id;
  Spec spec;
  spec.id = id;
  spec.limits = limits;
  spec.uid_base = options_.probe_uid_base;
  spec.hostname = "atoll";
  spec.channel_dir = dir + "/channel";
  spec.agent_path = options_.agent_path;
  spec.log_path = dir + "/boot.log";
  return spec;
}

Result<vm::SavedStatePtr> VmDriver::make_state(Spec of, const vm::Vmm& vmm) {
  const std::string id = "savemicrovm" + random_id(8), dir = options_.state_dir + "/" + id;
  const std::string states = options_.state_dir + "/machine-states";
  Spec spec = own_spec(id, of.limits);
  spec.template_dir = of.template_dir;
  spec.agent_path = of.agent_path;
  auto attempt = [&]() -> Result<vm::SavedStatePtr> {
    CHECK_OK(make_dirs(spec.channel_dir, 0755));
    CHECK_OK(make_dirs(states, 0700));
    return save_machine(spec, vmm, states + "/" + id + ".img");
  };
  auto made = attempt();
  const Status gone = destroy_now(id);
  const Status cleared = remove_tree(dir);
  if (!made.ok()) return made;
  if (!gone.ok()) return gone.error();
  if (!cleared.ok()) return cleared.error();
  // Its VMM is gone, and with it the last that could write to it.
  CHECK_OK(vm::seal((*made)->memory.get()));
  CHECK_OK(vm::seal((*made)->state.get()));
  return made;
}

Result<vm::SavedStatePtr> VmDriver::save_machine(const Spec& spec, const vm::Vmm& vmm, const std::string& disk) {
  TRY(Parts parts, gather(spec, nullptr));
  parts.start = vm::Start::boot_to_save;
  TRY(parts.memory, vm::sealable_file("guest memory", spec.limits.memory_bytes));
  TRY(UniqueFd state, vm::sealable_file("machine state", 0));
  const cgroup::Group group = parent_.group(spec.id);
  CHECK_OK(group.create(vmm_limits(spec.limits, vmm)));
  CHECK_OK(note_facts(spec, vmm, parts.start));
  TRY(const ProcessId process, launch(spec, vmm, parts, group));
  TRY(const auto control, make_machine(spec, vmm, group, parts, process));
  CHECK_OK(control->run());
  CHECK_OK(await_line(spec.log_path, process, options_.save_boot_ms, ending_));
  CHECK_OK(vmm.saving()->save(*control, state.get()));
  if (::rename(disk_of(spec.id).c_str(), disk.c_str()) != 0) return os_error("rename", disk);
  return vm::SavedStatePtr(std::make_shared<vm::SavedState>(std::move(parts.memory), std::move(state), disk));
}

}  // namespace atl::isolation
