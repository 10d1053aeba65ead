#include "agent/machine/machine.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "agent/machine/boot_message.h"
#include "agent/machine/identity.h"
#include "agent/machine/mounts.h"
#include "agent/machine/ports.h"
#include "base/fs.h"
#include "base/json.h"

namespace atl::agent::machine {
namespace {

// As the container runtimes are told on the other tiers (isolation/oci/spec.cpp).
constexpr rlim_t kOpenFilesMax = 1'048'576, kOpenFilesUsual = 65'536;

constexpr char kSaveOption[] = "atoll.save", kWaits[] = "waits for its boot message\n";  // isolation/vm/saved_states.h

Status open_log() {
  TRY(const std::string device, find_port(kLogPort));
  TRY(const UniqueFd log, open_fd(device, O_WRONLY));
  if (::dup2(log.get(), STDERR_FILENO) < 0) return os_error("dup2", device);
  return ok();
}

// The channel is a port here, not a socket of the host.
Result<std::string> with_channel(const std::string& boot_config, const std::string& device) {
  TRY(json::value config, parse_json(boot_config));
  config.as_object()["channel"] = device;
  return json::serialize(config);
}

Status give_as_stdin(const std::string& content) {
  const UniqueFd file(::memfd_create("boot config", MFD_CLOEXEC));
  if (!file.valid()) return os_error("memfd_create", "");
  if (::write(file.get(), content.data(), content.size()) != static_cast<ssize_t>(content.size()))
    return os_error("write", "boot config");
  if (::lseek(file.get(), 0, SEEK_SET) != 0) return os_error("lseek", "boot config");
  if (::dup2(file.get(), STDIN_FILENO) < 0) return os_error("dup2", "boot config");
  return ok();
}

bool is_to_be_saved() {
  const auto line = read_file("/proc/cmdline", 4096);
  return line.ok() && line->find(kSaveOption) != line->npos;
}

std::int64_t nanos_since_boot() {
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  return now.tv_sec * 1'000'000'000ll + now.tv_nsec;
}

// Where the machine's memory is to be saved, the node must know when.
void tell_that_it_waits() {
  [[maybe_unused]] const ssize_t n = ::write(STDERR_FILENO, kWaits, sizeof kWaits - 1);
}

void limit_resources() {
  const rlimit files{kOpenFilesUsual, kOpenFilesMax}, none{0, 0};
  ::setrlimit(RLIMIT_NOFILE, &files);
  ::setrlimit(RLIMIT_CORE, &none);
}

}  // namespace

bool is_machine() {
  struct statfs root {};
  return ::getpid() == 1 && ::statfs("/", &root) == 0 && (root.f_type == RAMFS_MAGIC || root.f_type == TMPFS_MAGIC) &&
         exists(std::string(kModulesDir) + "/order");
}

Status enter() {
  CHECK_OK(mount_kernel_files());
  CHECK_OK(load_modules());
  CHECK_OK(open_log());
  CHECK_OK(enter_root());
  limit_resources();
  CHECK_OK(prepare_names());
  const std::int64_t kernels = count_processes();
  TRY(const std::string channel, find_port(kChannelPort));
  TRY(const std::string device, find_port(kBootPort));
  TRY(UniqueFd port, open_fd(device, O_RDONLY));
  // When the guest of the message began to run, by its own clock: at its boot, or, as a clone, here.
  const bool saved = is_to_be_saved();
  const std::int64_t began = saved ? nanos_since_boot() : 0;
  if (saved) tell_that_it_waits();
  TRY(const BootMessage message, read_boot_message(port.get()));
  port.reset();
  CHECK_OK(reseed(message.entropy));
  CHECK_OK(set_clock(message.unix_nanos + nanos_since_boot() - began));
  CHECK_OK(take_name(message));
  CHECK_OK(bound_pids(message.pids_max, kernels));
  TRY(const std::string config, with_channel(message.boot_config, channel));
  return give_as_stdin(config);
}

}  // namespace atl::agent::machine
