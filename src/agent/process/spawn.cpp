#include "agent/process/spawn.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <cstring>

#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC (1U << 2)
#endif

namespace atl::agent {
namespace {

// A program on a stuck file system must not hold a pool thread for ever.
constexpr int kExecDeadlineMs = 10'000;

enum class Stage : int { streams, user, cwd, exec };
struct Report {
  Stage stage;
  int error;
};

// Everything the child needs, prepared before the fork: in it nothing may allocate.
struct ChildPlan {
  std::vector<char*> argv, envp, candidates;
  const SpawnPlan* plan = nullptr;
  bool change_user = false;
  int in = -1, out = -1, err = -1;
  bool terminal = false;
  int report = -1;
};

std::vector<char*> pointers(const std::vector<std::string>& strings) {
  std::vector<char*> out;
  out.reserve(strings.size() + 1);
  for (const std::string& s : strings) out.push_back(const_cast<char*>(s.c_str()));
  out.push_back(nullptr);
  return out;
}

// --- In the child: async-signal-safe calls only, since the agent has threads. ---

void default_signals() {
  struct sigaction action{};
  action.sa_handler = SIG_DFL;
  for (int number = 1; number < _NSIG; ++number) ::sigaction(number, &action, nullptr);
}

// Where close_range is missing: the descriptors of /proc/self/fd, read without malloc.
void close_on_exec_by_listing() {
  const int folder = ::open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) {
    for (int fd = 3; fd < 65536; ++fd) ::fcntl(fd, F_SETFD, FD_CLOEXEC);
    return;
  }
  alignas(dirent64) char buffer[4096];
  long size = 0;
  while ((size = ::syscall(SYS_getdents64, folder, buffer, sizeof buffer)) > 0) {
    for (long at = 0; at < size;) {
      const auto* entry = reinterpret_cast<const dirent64*>(buffer + at);
      const int fd = std::atoi(entry->d_name);
      if (fd > 2) ::fcntl(fd, F_SETFD, FD_CLOEXEC);
      at += entry->d_reclen;
    }
  }
}

bool set_streams(const ChildPlan& child) {
  // The three may overlap 0..2, so they are first moved out of the way.
  const int in = ::fcntl(child.in, F_DUPFD_CLOEXEC, 10), out = ::fcntl(child.out, F_DUPFD_CLOEXEC, 10),
            err = ::fcntl(child.err, F_DUPFD_CLOEXEC, 10);
  if (in < 0 || out < 0 || err < 0) return false;
  if (::dup2(in, 0) < 0 || ::dup2(out, 1) < 0 || ::dup2(err, 2) < 0) return false;
  if (child.terminal && ::ioctl(0, TIOCSCTTY, 0) != 0) return false;
  // Sockets of the agent among them: the channel must never reach a command.
  if (::syscall(SYS_close_range, 3, ~0U, CLOSE_RANGE_CLOEXEC) != 0) close_on_exec_by_listing();
  return true;
}

// Best effort, before root is given up: the agent outlives its commands when memory runs out.
void set_priorities(const ChildPlan& child) {
  if (const int fd = ::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC); fd >= 0) {
    [[maybe_unused]] const ssize_t n = ::write(fd, "100", 3);
    ::close(fd);
  }
  ::setpriority(PRIO_PROCESS, 0, 0);
  if (child.plan->open_files) ::setrlimit(RLIMIT_NOFILE, &*child.plan->open_files);
  ::umask(022);
}

// By system calls: the C library's setuid acts on all threads that it believes to have.
bool set_user(const ChildPlan& child) {
  const UserInfo& user = child.plan->user;
  if (!child.change_user) return true;
  return ::syscall(SYS_setgroups, user.groups.size(), user.groups.data()) == 0 &&
         ::syscall(SYS_setresgid, user.gid, user.gid, user.gid) == 0 &&
         ::syscall(SYS_setresuid, user.uid, user.uid, user.uid) == 0;
}

[[noreturn]] void fail(const ChildPlan& child, Stage stage, int error) {
  const Report report{stage, error};
  [[maybe_unused]] const ssize_t n = ::write(child.report, &report, sizeof report);
  ::_exit(127);
}

// As execvp: what is found but not allowed is told rather than a later "not found".
[[noreturn]] void exec_first(const ChildPlan& child) {
  int error = ENOENT;
  for (std::size_t i = 0; child.candidates[i] != nullptr; ++i) {
    ::execve(child.candidates[i], child.argv.data(), child.envp.data());
    if (errno == ENOENT || errno == ENOTDIR) continue;
    error = errno;
    if (errno != EACCES) break;
  }
  fail(child, Stage::exec, error);
}

[[noreturn]] void run_child(const ChildPlan& child) {
  default_signals();
  ::setsid();
  if (!set_streams(child)) fail(child, Stage::streams, errno);
  set_priorities(child);
  if (!set_user(child)) fail(child, Stage::user, errno);
  if (::chdir(child.plan->cwd.c_str()) != 0) fail(child, Stage::cwd, errno);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  exec_first(child);
}

// --- In the agent. ---

std::vector<std::string> candidates_of(const SpawnPlan& plan) {
  const std::string& command = plan.argv[0];
  if (command.find('/') != command.npos) return {command};
  std::vector<std::string> out;
  std::string_view path = plan.search_path;
  for (;;) {
    const auto colon = path.find(':');
    const std::string_view folder = path.substr(0, colon);
    // An empty piece means the working directory, by POSIX.
    out.push_back((folder.empty() ? "." : std::string(folder)) + "/" + command);
    if (colon == path.npos) return out;
    path.remove_prefix(colon + 1);
  }
}

Error explain(const SpawnPlan& plan, const Report& report) {
  const std::string& command = plan.argv[0];
  const std::string reason = std::strerror(report.error);
  switch (report.stage) {
    case Stage::cwd:
      if (report.error == ENOENT) return make_error(Errc::invalid, "cwd '" + plan.cwd + "' does not exist");
      return Error{errc_of(report.error), "cwd '" + plan.cwd + "': " + reason, report.error};
    case Stage::user:
      return Error{Errc::internal, "become user '" + plan.user.name + "': " + reason, report.error};
    case Stage::streams:
      return Error{Errc::internal, "set the streams of '" + command + "': " + reason, report.error};
    case Stage::exec:
      break;
  }
  Errc code = errc_of(report.error);
  if (report.error == ENOEXEC || report.error == E2BIG || report.error == EISDIR) code = Errc::invalid;
  if (report.error == ENOENT && command.find('/') == command.npos)
    return Error{code, "exec: '" + command + "': executable file not found in $PATH", report.error};
  return Error{code, "exec '" + command + "': " + reason, report.error};
}

struct Ends {
  UniqueFd agent, child;
};

// The child's end belongs to the user, so that it can reopen /dev/stdout.
Result<Ends> make_pipe(bool agent_reads, const UserInfo& user, bool give) {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) != 0) return os_error("pipe", "");
  Ends ends{UniqueFd(fds[agent_reads ? 0 : 1]), UniqueFd(fds[agent_reads ? 1 : 0])};
  if (::fcntl(ends.agent.get(), F_SETFL, O_NONBLOCK) != 0) return os_error("O_NONBLOCK", "pipe");
  if (give && ::fchown(ends.child.get(), user.uid, user.gid) != 0) {
    // Some kernels know no owner of a pipe: only reopening by path then fails.
  }
  return ends;
}

struct Streams {
  Spawned agent;
  UniqueFd in, out, err;  // the child's ends
};

Result<Streams> make_streams(const SpawnPlan& plan, bool give) {
  Streams streams;
  if (plan.terminal) {
    TRY(Pty pty, open_pty(*plan.terminal, plan.user.uid, plan.user.gid));
    streams.agent.terminal = std::move(pty.master);
    streams.in = std::move(pty.slave);
    return streams;
  }
  TRY(Ends out, make_pipe(true, plan.user, give));
  TRY(Ends err, make_pipe(true, plan.user, give));
  streams.agent.out = std::move(out.agent);
  streams.agent.err = std::move(err.agent);
  streams.out = std::move(out.child);
  streams.err = std::move(err.child);
  if (plan.stdin_pipe) {
    TRY(Ends in, make_pipe(false, plan.user, give));
    streams.agent.in = std::move(in.agent);
    streams.in = std::move(in.child);
  } else {
    streams.in = UniqueFd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    if (!streams.in.valid()) {
      // A root without /dev: a pipe that nobody writes is as empty.
      TRY(Ends in, make_pipe(false, plan.user, give));
      streams.in = std::move(in.child);
    }
  }
  return streams;
}

// No handler of the agent may run in the child: all signals wait from before the fork until the
// child has set its own dispositions.
pid_t fork_with_signals_blocked(Reaper& reaper, const ChildPlan& child) {
  sigset_t all, before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  const pid_t pid = reaper.fork_known();
  if (pid == 0) run_child(child);
  const int error = errno;
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  errno = error;
  return pid;
}

// nullopt: the program runs (exec closed the pipe).
std::optional<Report> await_exec(int fd) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(kExecDeadlineMs);
  for (;;) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
    pollfd waiting{fd, POLLIN, 0};
    const int ready = left.count() > 0 ? ::poll(&waiting, 1, static_cast<int>(left.count())) : 0;
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) return Report{Stage::exec, ETIMEDOUT};
    Report report{};
    const ssize_t n = ::read(fd, &report, sizeof report);
    if (n < 0 && errno == EINTR) continue;
    if (n == sizeof report) return report;
    return std::nullopt;
  }
}

}  // namespace

Result<Spawned> spawn_process(Reaper& reaper, const SpawnPlan& plan) {
  const std::vector<std::string> candidates = candidates_of(plan);
  const bool root = ::geteuid() == 0;
  if (!root && plan.user.uid != ::geteuid())
    return make_error(Errc::denied,
                      "the agent does not run as root, so it cannot run as '" + plan.user.name + "'");
  TRY(Streams streams, make_streams(plan, root));
  int report_fds[2];
  if (::pipe2(report_fds, O_CLOEXEC) != 0) return os_error("pipe", "");
  UniqueFd report_read(report_fds[0]), report_write(report_fds[1]);

  ChildPlan child;
  child.argv = pointers(plan.argv);
  child.envp = pointers(plan.env);
  child.candidates = pointers(candidates);
  child.plan = &plan;
  child.change_user = root;
  child.terminal = plan.terminal.has_value();
  child.in = streams.in.get();
  child.out = child.terminal ? child.in : streams.out.get();
  child.err = child.terminal ? child.in : streams.err.get();
  child.report = report_write.get();

  const pid_t pid = fork_with_signals_blocked(reaper, child);
  if (pid < 0) return with_context(os_error("fork", ""), "start '" + plan.argv[0] + "'");
  report_write.reset();
  streams.in.reset();
  streams.out.reset();
  streams.err.reset();
  if (const auto failed = await_exec(report_read.get())) {
    reaper.signal(pid, SIGKILL);
    reaper.forget(pid);
    return explain(plan, *failed);
  }
  streams.agent.pid = pid;
  return std::move(streams.agent);
}

}  // namespace atl::agent
