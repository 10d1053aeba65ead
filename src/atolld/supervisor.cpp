#include "atolld/supervisor.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "atolld/folders.h"
#include "base/fs.h"
#include "base/log_file.h"
#include "base/log.h"
#include "base/subprocess.h"

namespace atl::atolld {
namespace {

using namespace std::chrono_literals;

sigset_t watched_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (int signal : {SIGCHLD, SIGTERM, SIGINT, SIGUSR1, SIGHUP}) sigaddset(&set, signal);
  return set;
}

std::string how(int status) {
  return WIFEXITED(status) ? "exit " + std::to_string(WEXITSTATUS(status))
                           : "signal " + std::to_string(WTERMSIG(status));
}

}  // namespace

Supervisor::Supervisor(Config config, std::vector<std::string> arguments)
    : config_(std::move(config)), arguments_(std::move(arguments)), door_(config_) {
  for (const char* name : {"node", "api", "edge"}) roles_.push_back(Role{name});
}

Status Supervisor::lock() {
  const std::string path = config_.paths.pid_file("atolld");
  TRY(lock_, open_fd(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0644));
  if (::flock(lock_.get(), LOCK_EX | LOCK_NB) != 0)
    return make_error(Errc::conflict, "atolld runs already on " + config_.paths.run + " (" + path +
                                          " is locked); stop it, or choose another --run-dir");
  return ok();
}

Status Supervisor::prepare() {
  if (::geteuid() != 0)
    return make_error(Errc::denied,
                      "atolld run needs root: it mounts, makes cgroups, and gives each role its own user");
  CHECK_OK(prepare_folders(config_));
  CHECK_OK(lock());
  if (::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0) return os_error("PR_SET_CHILD_SUBREAPER", "");
  CHECK_OK(door_.open());
  const sigset_t set = watched_signals();
  if (::sigprocmask(SIG_BLOCK, &set, nullptr) != 0) return os_error("sigprocmask", "");
  // The lock is on the open file, so the pid is written through it, not by a rename.
  const auto self = identify(::getpid());
  const std::string text =
      std::to_string(::getpid()) + " " + std::to_string(self.ok() ? self->start_time : 0) + "\n";
  if (::ftruncate(lock_.get(), 0) != 0 || ::pwrite(lock_.get(), text.data(), text.size(), 0) < 0)
    return os_error("write", config_.paths.pid_file("atolld"));
  return ok();
}

int Supervisor::run() {
  if (const auto ready = prepare(); !ready.ok()) {
    log_error("atolld cannot start", {{"error", ready.error().message}});
    return 1;
  }
  log_info("supervisor runs", {{"root", config_.paths.root}, {"run", config_.paths.run}});
  for (;;) {
    start_due(std::chrono::steady_clock::now());
    cap_own_log(std::chrono::steady_clock::now());
    const int signal = wait_signal(next_start());
    reap(std::chrono::steady_clock::now());
    door_.look(std::chrono::system_clock::now(), signal == SIGHUP);
    if (signal == SIGTERM || signal == SIGINT || signal == SIGUSR1) {
      stop_all(signal == SIGUSR1);
      return 0;
    }
  }
}

// `atoll start` gives all roles this file as standard error; under systemd it does not exist.
void Supervisor::cap_own_log(Time now) {
  if (now < cap_log_at_) return;
  cap_log_at_ = now + kCapLogEvery;
  const auto capped = cap_log(daemon_log(config_.paths.root), kLogFileBytesMax);
  if (!capped.ok()) log_warn("log file", {{"error", capped.error().message}});
  else if (*capped) log_info("the log before is in atolld.log.1");
}

Supervisor::Time Supervisor::next_start() const {
  Time next = std::chrono::steady_clock::now() + (door_.wanted() ? FrontDoor::kLookEvery : 60s);
  for (const Role& role : roles_)
    if (role.pid == 0) next = std::min(next, role.start_at);
  return next;
}

int Supervisor::wait_signal(Time until) {
  const auto left = std::max<std::chrono::nanoseconds>(0ns, until - std::chrono::steady_clock::now());
  const timespec timeout{static_cast<time_t>(left.count() / 1'000'000'000),
                         static_cast<long>(left.count() % 1'000'000'000)};
  const sigset_t set = watched_signals();
  return ::sigtimedwait(&set, nullptr, &timeout);
}

void Supervisor::start_due(Time now) {
  for (Role& role : roles_) {
    if (role.pid != 0 || role.start_at > now) continue;
    const auto started = start(role, now);
    if (started.ok()) continue;
    log_error("role cannot be started", {{"role", role.name}, {"error", started.error().message}});
    role.start_at = role.backoff.died(now);
  }
}

Status Supervisor::start(Role& role, Time now) {
  std::vector<std::string> argv{"atolld", "role", role.name, "--parent", std::to_string(::getpid())};
  UniqueFd passed;
  if (role.name == "edge" && door_.wanted()) {
    TRY(passed, door_.connect_edge());
    argv.insert(argv.end(), {"--supervisor", std::to_string(passed.get())});
  }
  argv.insert(argv.end(), arguments_.begin(), arguments_.end());
  std::vector<char*> pointers;
  for (std::string& a : argv) pointers.push_back(a.data());
  pointers.push_back(nullptr);
  char path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
  char* environment[] = {path, nullptr};
  const pid_t pid = ::fork();
  if (pid < 0) return os_error("fork", role.name);
  if (pid == 0) {
    sigset_t none;
    sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    // A group of its own: Ctrl-C in a terminal reaches the supervisor alone, which stops in order.
    ::setpgid(0, 0);
    if (passed.valid()) ::fcntl(passed.get(), F_SETFD, 0);
    ::execve("/proc/self/exe", pointers.data(), environment);
    ::_exit(127);
  }
  role.pid = pid;
  role.backoff.started(now);
  write_pid(role.name, pid);
  log_info("role started", {{"role", role.name}, {"pid", pid}});
  return ok();
}

void Supervisor::write_pid(const std::string& name, pid_t pid) {
  const auto process = identify(pid);
  const std::uint64_t start = process.ok() ? process->start_time : 0;
  const auto written = write_file_atomic(config_.paths.pid_file(name),
                                         std::to_string(pid) + " " + std::to_string(start) + "\n", 0644);
  if (!written.ok()) log_warn("pid file", {{"error", written.error().message}});
}

void Supervisor::reap(Time now) {
  for (;;) {
    int status = 0;
    const pid_t pid = ::waitpid(-1, &status, WNOHANG);
    if (pid <= 0) return;
    for (Role& role : roles_) {
      if (role.pid != pid) continue;
      role.pid = 0;
      if (stopping_) {
        log_info("role stopped", {{"role", role.name}, {"how", how(status)}});
        continue;
      }
      role.start_at = role.backoff.died(now);
      const auto pause = std::chrono::duration_cast<std::chrono::milliseconds>(role.start_at - now);
      log_warn("role ended", {{"role", role.name}, {"how", how(status)}, {"startsAgainInMs", pause.count()}});
    }
  }
}

void Supervisor::stop_role(Role& role, int signal, std::chrono::milliseconds at_most) {
  if (role.pid == 0) return;
  ::kill(role.pid, signal);
  const Time until = std::chrono::steady_clock::now() + at_most;
  while (role.pid != 0 && std::chrono::steady_clock::now() < until) {
    wait_signal(until);
    reap(std::chrono::steady_clock::now());
  }
  if (role.pid != 0) {
    log_error("role does not stop, killing it", {{"role", role.name}});
    ::kill(role.pid, SIGKILL);
    int status = 0;
    while (::waitpid(role.pid, &status, 0) < 0 && errno == EINTR) {
    }
    role.pid = 0;
  }
  ::unlink(config_.paths.pid_file(role.name).c_str());
}

void Supervisor::stop_all(bool end_sandboxes) {
  stopping_ = true;
  for (auto role = roles_.rbegin(); role != roles_.rend(); ++role) {
    const bool ends = end_sandboxes && role->name == "node";
    stop_role(*role, ends ? SIGUSR1 : SIGTERM, ends ? kEndSandboxesWait : kStopWait);
  }
  ::unlink(config_.paths.endpoint_file().c_str());
  log_info("supervisor stopped");
}

}  // namespace atl::atolld
