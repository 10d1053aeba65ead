#include "agent/init.h"

#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>

#include "base/fs.h"
#include "base/log.h"

#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC (1U << 2)
#endif

namespace atl::agent {
namespace {

Status write_marker(const std::string& path, std::string_view content) {
  TRY(UniqueFd fd, open_fd(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0644));
  if (::write(fd.get(), content.data(), content.size()) != static_cast<ssize_t>(content.size()))
    return os_error("write", path);
  return ok();
}

void log_failure(std::string_view duty, const Status& status) {
  if (!status.ok()) log_warn("not done", {{"duty", duty}, {"error", status.error().message}});
}

Status set_hostname(const std::string& name) {
  char current[256] = {};
  if (name.empty() || (::gethostname(current, sizeof current - 1) == 0 && name == current)) return ok();
  if (::sethostname(name.data(), name.size()) != 0) return os_error("sethostname", name);
  return ok();
}

}  // namespace

void harden_process() {
  ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  // Process 1 is spared the default action anyway; ignoring them makes every start the same.
  for (int number :
       {SIGPIPE, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGALRM, SIGTSTP, SIGTTIN, SIGTTOU})
    ::signal(number, SIG_IGN);
  ::umask(022);
  if (::syscall(SYS_close_range, 3, ~0U, CLOSE_RANGE_CLOEXEC) == 0) return;
  for (int fd = 3; fd < 1024; ++fd) ::fcntl(fd, F_SETFD, FD_CLOEXEC);
}

Status seal_standard_streams() {
  int fd = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  int ends[2] = {-1, -1};
  if (fd < 0) {
    if (::pipe2(ends, O_CLOEXEC) != 0) return os_error("pipe", "");
    fd = ends[0];
    ::close(ends[1]);
  }
  for (int standard : {STDIN_FILENO, STDOUT_FILENO})
    if (::dup2(fd, standard) < 0) return os_error("dup2", "standard streams");
  if (::fcntl(STDERR_FILENO, F_GETFD) < 0 && ::dup2(fd, STDERR_FILENO) < 0) return os_error("dup2", "stderr");
  if (fd > STDERR_FILENO) ::close(fd);
  return ok();
}

std::optional<rlimit> raise_open_files() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return std::nullopt;
  rlimit raised = limit;
  raised.rlim_cur = raised.rlim_max;
  if (raised.rlim_cur != limit.rlim_cur) ::setrlimit(RLIMIT_NOFILE, &raised);
  return limit;
}

Status bring_loopback_up() {
  UniqueFd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return os_error("socket", "");
  ifreq request{};
  std::strncpy(request.ifr_name, "lo", sizeof request.ifr_name - 1);
  if (::ioctl(fd.get(), SIOCGIFFLAGS, &request) != 0) return os_error("SIOCGIFFLAGS", "lo");
  if (request.ifr_flags & IFF_UP) return ok();
  request.ifr_flags |= IFF_UP | IFF_RUNNING;
  if (::ioctl(fd.get(), SIOCSIFFLAGS, &request) != 0) return os_error("SIOCSIFFLAGS", "lo");
  return ok();
}

Status write_markers(const BootConfig& boot, const std::string& root) {
  CHECK_OK(make_dirs(root + "/run/e2b", 0755));
  CHECK_OK(write_marker(root + "/run/e2b/.E2B_SANDBOX", "true"));
  CHECK_OK(write_marker(root + "/run/e2b/.E2B_SANDBOX_ID", boot.sandbox_id));
  CHECK_OK(write_marker(root + "/run/e2b/.E2B_TEMPLATE_ID", boot.template_id));
  return write_marker(root + "/.e2b",
                      "ENV_ID=" + boot.template_id + "\nTEMPLATE_ID=" + boot.template_id + "\n");
}

void set_up_sandbox(const BootConfig& boot) {
  log_failure("loopback up", bring_loopback_up());
  log_failure("hostname", set_hostname(boot.sandbox_id));
  log_failure("marker files", write_markers(boot, ""));
}

}  // namespace atl::agent
