#include "base/subprocess.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>

#include "base/fs.h"

namespace atl {
namespace {

using SteadyClock = std::chrono::steady_clock;

struct Pipe {
  UniqueFd read, write;
};

Result<Pipe> make_pipe() {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) != 0) return os_error("pipe2", "");
  return Pipe{UniqueFd(fds[0]), UniqueFd(fds[1])};
}

std::vector<char*> pointers(const std::vector<std::string>& strings) {
  std::vector<char*> out;
  for (const std::string& s : strings) out.push_back(const_cast<char*>(s.c_str()));
  out.push_back(nullptr);
  return out;
}

std::string joined(const std::vector<std::string>& argv) {
  std::string out;
  for (const std::string& a : argv) out.append(out.empty() ? "" : " ").append(a);
  return out;
}

constexpr unsigned kCloseRangeCloexec = 1u << 2;  // CLOSE_RANGE_CLOEXEC of linux/close_range.h

struct ChildPlan {
  char* const* argv;
  char* const* envp;
  int in, out, err, report;
  const std::vector<int>* inherit;
  const std::vector<int>* cgroups;
};

// Between fork and exec: only async-signal-safe calls, since the parent has threads.
[[noreturn]] void child(const ChildPlan& plan) {
  ::setsid();
  for (int fd : *plan.cgroups)
    if (::write(fd, "0", 1) != 1) goto failed;
  // The three may overlap 0..2, so they are first moved out of the way.
  {
    int in = ::fcntl(plan.in, F_DUPFD, 10), out = ::fcntl(plan.out, F_DUPFD, 10),
        err = ::fcntl(plan.err, F_DUPFD, 10);
    if (in < 0 || out < 0 || err < 0 || ::dup2(in, 0) < 0 || ::dup2(out, 1) < 0 || ::dup2(err, 2) < 0) goto failed;
    ::close(in);
    ::close(out);
    ::close(err);
  }
  // Descriptors that somebody else's code left open across exec stay out of the child as well.
  ::syscall(SYS_close_range, 3u, ~0u, kCloseRangeCloexec);
  for (int fd : *plan.inherit) ::fcntl(fd, F_SETFD, 0);
  {
    sigset_t none;
    sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    ::signal(SIGPIPE, SIG_DFL);
  }
  ::execve(plan.argv[0], plan.argv, plan.envp);
failed:
  const int err = errno;
  [[maybe_unused]] ssize_t n = ::write(plan.report, &err, sizeof err);
  ::_exit(127);
}

int remaining_ms(SteadyClock::time_point until) {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - SteadyClock::now()).count();
  return static_cast<int>(std::max<std::int64_t>(0, left));
}

// Takes what is there; false at the end of the stream.
bool drain(int fd, std::string& into, std::size_t most) {
  char buffer[16384];
  for (;;) {
    const ssize_t n = ::read(fd, buffer, sizeof buffer);
    if (n > 0) {
      into.append(buffer, std::min<std::size_t>(n, most - std::min(most, into.size())));
    } else if (n < 0 && errno == EINTR) {
      continue;
    } else {
      return n < 0 && errno == EAGAIN;
    }
  }
}

struct Streams {
  UniqueFd in, out, err, process;
  std::string_view stdin_left;
};

// Feeds and drains until the process ends; false on time-out.
bool pump(Streams& s, Finished& result, std::size_t most, SteadyClock::time_point until) {
  for (UniqueFd* fd : {&s.in, &s.out, &s.err})
    if (fd->valid()) ::fcntl(fd->get(), F_SETFL, O_NONBLOCK);
  for (;;) {
    pollfd polls[4] = {{s.process.get(), POLLIN, 0}, {s.out.get(), POLLIN, 0}, {s.err.get(), POLLIN, 0},
                       {s.in.get(), POLLOUT, 0}};
    if (::poll(polls, 4, remaining_ms(until)) < 0 && errno != EINTR) return false;
    if (polls[1].revents && !drain(s.out.get(), result.out, most)) s.out.reset();
    if (polls[2].revents && !drain(s.err.get(), result.err, most)) s.err.reset();
    if (polls[3].revents) {
      const ssize_t n = ::write(s.in.get(), s.stdin_left.data(), s.stdin_left.size());
      if (n > 0) s.stdin_left.remove_prefix(n);
      if (s.stdin_left.empty() || (n < 0 && errno != EAGAIN && errno != EINTR)) s.in.reset();
    }
    if (polls[0].revents) {
      if (s.out.valid()) drain(s.out.get(), result.out, most);
      if (s.err.valid()) drain(s.err.get(), result.err, most);
      return true;
    }
    if (remaining_ms(until) == 0) return false;
  }
}

}  // namespace

Result<Finished> run(const Command& command) {
  if (command.argv.empty()) return make_error(Errc::internal, "no program to run");
  if (::access(command.argv[0].c_str(), X_OK) != 0) return os_error("run", command.argv[0]);
  TRY(Pipe in, make_pipe());
  TRY(Pipe out, make_pipe());
  TRY(Pipe err, make_pipe());
  TRY(Pipe report, make_pipe());
  const auto argv = pointers(command.argv), envp = pointers(command.env);
  const ChildPlan plan{argv.data(),
                       envp.data(),
                       command.stdin_fd >= 0 ? command.stdin_fd : in.read.get(),
                       command.stdout_fd >= 0 ? command.stdout_fd : out.write.get(),
                       command.stderr_fd >= 0 ? command.stderr_fd : err.write.get(),
                       report.write.get(),
                       &command.inherit_fds,
                       &command.join_cgroup_fds};
  const pid_t pid = ::fork();
  if (pid < 0) return os_error("fork", command.argv[0]);
  if (pid == 0) child(plan);

  Streams streams{std::move(in.write), std::move(out.read), std::move(err.read), UniqueFd(), command.stdin_data};
  in.read.reset();
  out.write.reset();
  err.write.reset();
  report.write.reset();
  if (command.stdin_fd >= 0 || command.stdin_data.empty()) streams.in.reset();
  streams.process = UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));

  Finished result;
  const auto until = SteadyClock::now() + std::chrono::milliseconds(command.timeout_ms);
  const bool ended = streams.process.valid() && pump(streams, result, command.output_bytes_max, until);
  if (!ended) ::kill(-pid, SIGKILL), ::kill(pid, SIGKILL);
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (!ended) {
    return make_error(Errc::deadline, joined(command.argv) + ": no end after " + std::to_string(command.timeout_ms) +
                                          " ms, killed: " + result.err);
  }
  int exec_errno = 0;
  if (::read(report.read.get(), &exec_errno, sizeof exec_errno) == sizeof exec_errno)
    return os_error("start", joined(command.argv), exec_errno);
  result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return result;
}

Result<std::string> run_ok(const Command& command) {
  TRY(Finished finished, run(command));
  if (finished.exit_code == 0) return std::move(finished.out);
  std::string said = finished.err.empty() ? finished.out : finished.err;
  while (!said.empty() && said.back() == '\n') said.pop_back();
  return make_error(Errc::internal,
                    joined(command.argv) + ": exit " + std::to_string(finished.exit_code) + ": " + said);
}

Result<ProcessId> identify(pid_t pid) {
  TRY(std::string stat, read_file("/proc/" + std::to_string(pid) + "/stat", 4096));
  // The name in parentheses may hold anything, so fields are counted from its last ')'.
  const auto paren = stat.rfind(')');
  if (paren == std::string::npos) return make_error(Errc::internal, "unreadable /proc stat");
  const char* at = stat.c_str() + paren + 1;
  char state = at[0] == ' ' ? at[1] : '?';
  if (state == 'Z' || state == 'X') return make_error(Errc::not_found, "process has ended");
  for (int field = 2; field < 22 && *at != '\0'; ++at)
    if (*at == ' ') ++field;
  return ProcessId{pid, std::strtoull(at, nullptr, 10)};
}

bool is_alive(const ProcessId& process) {
  const auto now = identify(process.pid);
  return now.ok() && *now == process;
}

Result<UniqueFd> open_process(const ProcessId& process) {
  UniqueFd fd(static_cast<int>(::syscall(SYS_pidfd_open, process.pid, 0)));
  if (!fd.valid()) return os_error("pidfd_open", std::to_string(process.pid));
  // The pidfd is opened first: if the number was reused before that, the start time tells.
  if (!is_alive(process)) return make_error(Errc::not_found, "process has ended");
  return fd;
}

}  // namespace atl
