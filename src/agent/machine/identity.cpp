#include "agent/machine/identity.h"

#include <fcntl.h>
#include <linux/random.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/fs.h"

namespace atl::agent::machine {
namespace {

// The kernel's least pid_max is RESERVED_PIDS + 1 (kernel/pid.c).
constexpr std::int64_t kLeastPidMax = 301;

Status make_in_etc(const char* name) {
  const std::string path = std::string("/etc/") + name;
  ::unlink(path.c_str());
  TRY(const UniqueFd file, open_fd(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0644));
  return ok();
}

Status fill_in_etc(const char* name, const std::string& content) {
  const std::string path = std::string("/etc/") + name;
  TRY(const UniqueFd file, open_fd(path, O_WRONLY | O_NOFOLLOW));
  if (::write(file.get(), content.data(), content.size()) != static_cast<ssize_t>(content.size()))
    return os_error("write", path);
  return ok();
}

bool there(const char* path, mode_t kind) {
  struct stat info {};
  return ::lstat(path, &info) == 0 && (info.st_mode & S_IFMT) == kind;
}

}  // namespace

Status reseed(std::string_view entropy) {
  TRY(const UniqueFd device, open_fd("/dev/urandom", O_RDWR));
  std::vector<int> buffer(2 + (entropy.size() + sizeof(int) - 1) / sizeof(int));
  auto* pool = reinterpret_cast<rand_pool_info*>(buffer.data());
  pool->entropy_count = static_cast<int>(entropy.size() * 8);
  pool->buf_size = static_cast<int>(entropy.size());
  std::memcpy(pool->buf, entropy.data(), entropy.size());
  if (::ioctl(device.get(), RNDADDENTROPY, pool) != 0) return os_error("ioctl(RNDADDENTROPY)", "/dev/urandom");
  if (::ioctl(device.get(), RNDRESEEDCRNG) != 0) return os_error("ioctl(RNDRESEEDCRNG)", "/dev/urandom");
  return ok();
}

Status set_clock(std::int64_t unix_nanos) {
  const timespec now{unix_nanos / 1'000'000'000, unix_nanos % 1'000'000'000};
  if (::clock_settime(CLOCK_REALTIME, &now) != 0) return os_error("clock_settime", "");
  return ok();
}

Status prepare_names() {
  if (!there("/etc", S_IFDIR)) return ok();
  struct stat info {};
  const bool machine_id = ::lstat("/etc/machine-id", &info) == 0;
  CHECK_OK(make_in_etc("hostname"));
  CHECK_OK(make_in_etc("hosts"));
  return machine_id ? make_in_etc("machine-id") : ok();
}

Status take_name(const BootMessage& message) {
  if (::sethostname(message.hostname.data(), message.hostname.size()) != 0)
    return os_error("sethostname", message.hostname);
  if (!there("/etc", S_IFDIR)) return ok();
  CHECK_OK(fill_in_etc("hostname", message.hostname + "\n"));
  CHECK_OK(fill_in_etc("hosts", "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.1.1\t" +
                                    message.hostname + "\n"));
  return there("/etc/machine-id", S_IFREG) ? fill_in_etc("machine-id", message.machine_id + "\n") : ok();
}

std::int64_t count_processes() {
  const auto names = list_dir("/proc");
  if (!names.ok()) return 0;
  return std::count_if(names->begin(), names->end(), [](const std::string& n) { return n[0] >= '0' && n[0] <= '9'; });
}

Status bound_pids(std::int64_t pids_max, std::int64_t kernels) {
  if (pids_max <= 0) return ok();
  return write_file("/proc/sys/kernel/pid_max", std::to_string(std::max(kLeastPidMax, pids_max + kernels)));
}

}  // namespace atl::agent::machine
