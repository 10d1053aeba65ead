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

Status replace_in_etc(const char* name, const std::string& content) {
  const std::string path = std::string("/etc/") + name;
  ::unlink(path.c_str());
  TRY(const UniqueFd file, open_fd(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0644));
  if (::write(file.get(), content.data(), content.size()) != static_cast<ssize_t>(content.size()))
    return os_error("write", path);
  return ok();
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
  if (unix_nanos <= 0) return ok();
  const timespec now{unix_nanos / 1'000'000'000, unix_nanos % 1'000'000'000};
  if (::clock_settime(CLOCK_REALTIME, &now) != 0) return os_error("clock_settime", "");
  return ok();
}

Status take_name(const BootMessage& message) {
  if (::sethostname(message.hostname.data(), message.hostname.size()) != 0)
    return os_error("sethostname", message.hostname);
  struct stat info {};
  if (::stat("/etc", &info) != 0 || !S_ISDIR(info.st_mode)) return ok();
  CHECK_OK(replace_in_etc("hostname", message.hostname + "\n"));
  CHECK_OK(replace_in_etc("hosts", "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.1.1\t" +
                                       message.hostname + "\n"));
  if (::lstat("/etc/machine-id", &info) != 0) return ok();
  return replace_in_etc("machine-id", message.machine_id + "\n");
}

Status bound_pids(std::int64_t pids_max) {
  if (pids_max <= 0) return ok();
  std::int64_t kernel_threads = 0;
  if (const auto names = list_dir("/proc"); names.ok())
    kernel_threads = std::count_if(names->begin(), names->end(),
                                   [](const std::string& n) { return n[0] >= '0' && n[0] <= '9'; });
  const std::int64_t most = std::max(kLeastPidMax, pids_max + kernel_threads);
  return write_file("/proc/sys/kernel/pid_max", std::to_string(most));
}

}  // namespace atl::agent::machine
