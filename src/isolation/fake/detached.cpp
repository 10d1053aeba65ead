#include "isolation/fake/detached.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace atl::isolation {
namespace {

constexpr unsigned kCloseRangeCloexec = 1u << 2;  // CLOSE_RANGE_CLOEXEC of linux/close_range.h

struct Report {
  pid_t pid = 0;
  int err = 0;
};

std::vector<char*> pointers(const std::vector<std::string>& strings) {
  std::vector<char*> out;
  for (const std::string& s : strings) out.push_back(const_cast<char*>(s.c_str()));
  out.push_back(nullptr);
  return out;
}

// Between fork and exec: only async-signal-safe calls, since the parent has threads.
[[noreturn]] void grandchild(const Detached& program, char* const* argv, char* const* envp, int report_fd) {
  Report report{::getpid(), 0};
  const int in = ::fcntl(program.in, F_DUPFD, 10), out = ::fcntl(program.out, F_DUPFD, 10),
            err = ::fcntl(program.err, F_DUPFD, 10);
  report_fd = ::fcntl(report_fd, F_DUPFD_CLOEXEC, 10);
  if (in >= 0 && out >= 0 && err >= 0 && ::dup2(in, 0) >= 0 && ::dup2(out, 1) >= 0 && ::dup2(err, 2) >= 0 &&
      ::prctl(PR_SET_CHILD_SUBREAPER, 1) == 0) {
    ::syscall(SYS_close_range, 3u, ~0u, kCloseRangeCloexec);
    sigset_t none;
    sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    ::signal(SIGPIPE, SIG_DFL);
    [[maybe_unused]] ssize_t n = ::write(report_fd, &report, sizeof report);
    ::execve(argv[0], argv, envp);
  }
  report.err = errno;
  [[maybe_unused]] ssize_t n = ::write(report_fd, &report, sizeof report);
  ::_exit(127);
}

}  // namespace

Result<ProcessId> start_detached(const Detached& program) {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) != 0) return os_error("pipe2", "");
  const UniqueFd read_end(fds[0]);
  UniqueFd write_end(fds[1]);
  const auto argv = pointers(program.argv), envp = pointers(program.env);
  // A fork takes its name from the thread that calls it.
  char own_name[16] = {};
  ::prctl(PR_GET_NAME, own_name);
  ::prctl(PR_SET_NAME, kStartingName);
  const pid_t child = ::fork();
  const int fork_errno = errno;
  if (child != 0) ::prctl(PR_SET_NAME, own_name);
  if (child < 0) return os_error("fork", program.argv[0], fork_errno);
  if (child == 0) {
    ::setsid();
    if (::fork() == 0) grandchild(program, argv.data(), envp.data(), write_end.get());
    ::_exit(0);  // a failed fork shows as an empty report
  }
  write_end.reset();
  while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
  }
  Report report, failure;
  if (::read(read_end.get(), &report, sizeof report) != sizeof report)
    return make_error(Errc::exhausted, program.argv[0] + ": the second fork failed");
  if (report.err == 0 && ::read(read_end.get(), &failure, sizeof failure) == sizeof failure) report.err = failure.err;
  if (report.err != 0) return os_error("start", program.argv[0], report.err);
  return identify(report.pid);
}

}  // namespace atl::isolation
