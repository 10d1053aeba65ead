#include "isolation/cgroup/group.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmath>
#include <set>

#include "base/fs.h"
#include "isolation/cgroup/files.h"

namespace atl::isolation::cgroup {
namespace {

using SteadyClock = std::chrono::steady_clock;
constexpr std::int64_t kPeriodUsec = 100'000;  // the kernel's default period of CPU quotas

// 0.2 ms doubling to 20 ms: most waits here end within the first few.
class Retry {
 public:
  explicit Retry(int within_ms) : until_(SteadyClock::now() + std::chrono::milliseconds(within_ms)) {}
  // Waits a little; false when the time is over.
  bool again() {
    if (SteadyClock::now() >= until_) return false;
    const timespec pause{0, pause_us_ * 1000};
    ::nanosleep(&pause, nullptr);
    pause_us_ = std::min<long>(pause_us_ * 2, 20'000);
    return true;
  }

 private:
  SteadyClock::time_point until_;
  long pause_us_ = 200;
};

}  // namespace

std::string Group::file(const std::string& controller, const std::string& name) const {
  return folders_.at(version_ == Version::v2 ? "" : controller) + "/" + name;
}

std::vector<std::string> Group::distinct() const {
  std::set<std::string> folders;
  for (const auto& [controller, folder] : folders_) folders.insert(folder);
  return {folders.begin(), folders.end()};
}

Status Group::create(const Limits& limits) const {
  for (const std::string& folder : distinct())
    if (::mkdir(folder.c_str(), 0755) != 0) return os_error("mkdir", folder);
  CHECK_OK(version_ == Version::v1 ? set_v1(limits) : set_v2(limits));
  return verify(limits);
}

Status Group::set_v1(const Limits& limits) const {
  CHECK_OK(write_number(file("memory", "memory.limit_in_bytes"), limits.memory_bytes));
  // Memory and swap together: equal to memory alone, so nothing may be swapped beyond it.
  const std::string memsw = file("memory", "memory.memsw.limit_in_bytes");
  if (atl::exists(memsw)) CHECK_OK(write_number(memsw, limits.memory_bytes));
  CHECK_OK(write_number(file("cpu", "cpu.cfs_period_us"), kPeriodUsec));
  CHECK_OK(write_number(file("cpu", "cpu.cfs_quota_us"), limits.vcpus * kPeriodUsec));
  return write_number(file("pids", "pids.max"), limits.pids);
}

Status Group::set_v2(const Limits& limits) const {
  CHECK_OK(write_number(file("", "memory.max"), limits.memory_bytes));
  if (const std::string swap = file("", "memory.swap.max"); atl::exists(swap)) CHECK_OK(write_number(swap, 0));
  CHECK_OK(write_file(file("", "cpu.max"), std::to_string(limits.vcpus * kPeriodUsec) + " " + std::to_string(kPeriodUsec)));
  return write_number(file("", "pids.max"), limits.pids);
}

Result<InForce> Group::in_force() const {
  InForce out;
  if (version_ == Version::v1) {
    TRY(out.memory_bytes, read_number(file("memory", "memory.limit_in_bytes")));
    if (const std::string memsw = file("memory", "memory.memsw.limit_in_bytes"); atl::exists(memsw)) {
      TRY(const std::int64_t both, read_number(memsw));
      out.swap_bytes = both - out.memory_bytes;
    }
    TRY(const std::int64_t quota, read_number(file("cpu", "cpu.cfs_quota_us")));
    TRY(const std::int64_t period, read_number(file("cpu", "cpu.cfs_period_us")));
    out.cpus = quota < 0 ? INFINITY : static_cast<double>(quota) / static_cast<double>(period);
  } else {
    TRY(out.memory_bytes, read_number(file("", "memory.max")));
    if (const std::string swap = file("", "memory.swap.max"); atl::exists(swap)) {
      TRY(out.swap_bytes, read_number(swap));
    }
    TRY(const std::string cpu, read_file(file("", "cpu.max"), kFileBytesMax));
    long long quota = 0, period = 0;
    out.cpus = std::sscanf(cpu.c_str(), "%lld %lld", &quota, &period) == 2 && period > 0
                   ? static_cast<double>(quota) / static_cast<double>(period)
                   : INFINITY;
  }
  TRY(out.pids, read_number(file("pids", "pids.max")));
  return out;
}

Status Group::verify(const Limits& limits) const {
  TRY(const InForce found, in_force());
  const std::int64_t page = ::sysconf(_SC_PAGESIZE);
  const bool memory = found.memory_bytes >= 0 && std::llabs(found.memory_bytes - limits.memory_bytes) < page;
  const bool swap = found.swap_bytes <= 0;
  if (memory && swap && found.pids == limits.pids && found.cpus == static_cast<double>(limits.vcpus)) return ok();
  return make_error(Errc::unsupported,
                    "limits asked: memory " + std::to_string(limits.memory_bytes) + ", cpus " +
                        std::to_string(limits.vcpus) + ", pids " + std::to_string(limits.pids) +
                        "; the kernel has: memory " + std::to_string(found.memory_bytes) + ", swap beyond it " +
                        std::to_string(found.swap_bytes) + ", cpus " + std::to_string(found.cpus) + ", pids " +
                        std::to_string(found.pids));
}

// A process of one thread that moves itself by v1's `tasks` does not take the lock that every fork
// on the host takes too; by `cgroup.procs` it does, and waits for an RCU grace period or several
// (14 ms instead of 0.2 on a busy machine). v2 lets only threaded groups do so.
Result<std::vector<UniqueFd>> Group::join_fds() const {
  std::vector<UniqueFd> fds;
  const char* name = version_ == Version::v1 ? "/tasks" : "/cgroup.procs";
  for (const std::string& folder : distinct()) {
    TRY(UniqueFd fd, open_fd(folder + name, O_WRONLY));
    fds.push_back(std::move(fd));
  }
  return fds;
}

bool Group::exists() const {
  const auto folders = distinct();
  return std::any_of(folders.begin(), folders.end(), [](const std::string& f) { return atl::exists(f); });
}

Result<Counters> Group::counters() const {
  Counters out;
  if (version_ == Version::v1) {
    TRY(const std::int64_t cpu_ns, read_number(file("cpuacct", "cpuacct.usage")));
    out.cpu_usec = cpu_ns / 1000;
    TRY(out.memory_bytes, read_number(file("memory", "memory.usage_in_bytes")));
    TRY(out.memory_cache_bytes, read_field(file("memory", "memory.stat"), "total_cache"));
    TRY(out.oom_kills, read_field(file("memory", "memory.oom_control"), "oom_kill"));
  } else {
    TRY(out.cpu_usec, read_field(file("", "cpu.stat"), "usage_usec"));
    TRY(out.memory_bytes, read_number(file("", "memory.current")));
    TRY(out.memory_cache_bytes, read_field(file("", "memory.stat"), "file"));
    TRY(out.oom_kills, read_field(file("", "memory.events"), "oom_kill"));
  }
  TRY(out.pids, read_number(file("pids", "pids.current")));
  TRY(out.pids_refused, read_field(file("pids", "pids.events"), "max"));
  return out;
}

std::vector<pid_t> Group::processes() const {
  std::set<pid_t> found;
  for (const std::string& folder : distinct()) {
    const auto text = read_file(folder + "/cgroup.procs", kFileBytesMax);
    if (!text.ok()) continue;
    for (const char* at = text->c_str(); *at != '\0';) {
      char* end = nullptr;
      const long pid = std::strtol(at, &end, 10);
      if (end == at) break;
      if (pid > 0) found.insert(static_cast<pid_t>(pid));  // 0: of a pid namespace we cannot see
      at = *end == '\n' ? end + 1 : end;
    }
  }
  return {found.begin(), found.end()};
}

Status Group::freeze(bool frozen, int within_ms) const {
  const bool v1 = version_ == Version::v1;
  const std::string state = v1 ? file("freezer", "freezer.state") : file("", "cgroup.freeze");
  if (!atl::exists(state)) return ok();
  CHECK_OK(write_file(state, v1 ? (frozen ? "FROZEN" : "THAWED") : (frozen ? "1" : "0")));
  if (!frozen || !v1) return ok();
  for (Retry retry(within_ms);;) {
    TRY(const std::string now, read_file(state, 64));
    if (now.rfind("FROZEN", 0) == 0) return ok();
    if (!retry.again()) return make_error(Errc::deadline, state + ": not frozen in time");
  }
}

// v1 has no call that kills a group, so it is frozen first: a frozen process neither forks nor
// ends, so the list is complete and no number in it can be reused. v2's cgroup.kill does that.
Status Group::kill_all(int within_ms) const {
  const std::string kill_file = version_ == Version::v2 ? file("", "cgroup.kill") : "";
  for (Retry retry(within_ms);;) {
    if (processes().empty()) return ok();
    if (!kill_file.empty() && atl::exists(kill_file)) {
      CHECK_OK(write_file(kill_file, "1"));
    } else {
      [[maybe_unused]] const Status frozen = freeze(true, 50);  // killing works without, in more rounds
      for (const pid_t pid : processes()) ::kill(pid, SIGKILL);
      CHECK_OK(freeze(false, 0));
    }
    if (!retry.again()) break;
  }
  const auto left = processes();
  if (left.empty()) return ok();
  return make_error(Errc::deadline, std::to_string(left.size()) + " processes (first " + std::to_string(left[0]) +
                                        ") outlive SIGKILL after " + std::to_string(within_ms) +
                                        " ms in " + distinct()[0]);
}

Status Group::remove(int within_ms) const {
  for (const std::string& folder : distinct()) {
    for (Retry retry(within_ms);;) {
      if (::rmdir(folder.c_str()) == 0 || errno == ENOENT) break;
      // EBUSY: the kernel has not yet let go of the last process.
      if (errno != EBUSY || !retry.again()) return os_error("rmdir", folder);
    }
  }
  return ok();
}

}  // namespace atl::isolation::cgroup
