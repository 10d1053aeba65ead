#include "cli/daemon.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <ctime>

#include "base/fs.h"
#include "base/log_file.h"
#include "base/paths.h"

namespace atl::cli {
namespace {

Paths paths_of(const GlobalOptions& options) { return Paths{options.root, options.run}; }

// Beside this program first: a build folder's atoll starts that folder's atolld.
Result<std::string> daemon_program() {
  std::string own(4096, '\0');
  const ssize_t n = ::readlink("/proc/self/exe", own.data(), own.size());
  std::vector<std::string> places;
  if (n > 0) {
    own.resize(n);
    places.push_back(own.substr(0, own.rfind('/')) + "/atolld");
  }
  places.emplace_back("/usr/local/bin/atolld");
  for (const std::string& place : places)
    if (::access(place.c_str(), X_OK) == 0) return place;
  return make_error(Errc::not_found, fmt::format("atolld is neither {} nor {}; install it with ./setup", places.front(),
                                                 places.back()));
}

// Between fork and exec: only calls that are safe in a child of a threaded process.
[[noreturn]] void become(char* const* argv, char* const* environment, int null_fd, int log_fd) {
  ::setsid();
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::signal(SIGPIPE, SIG_DFL);
  if (::chdir("/") != 0) ::_exit(126);
  ::dup2(null_fd, 0);
  ::dup2(log_fd, 1);
  ::dup2(log_fd, 2);
  ::execve(argv[0], argv, environment);
  ::_exit(127);
}

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> out;
  for (std::string& word : words) out.push_back(word.data());
  out.push_back(nullptr);
  return out;
}

}  // namespace

std::optional<ProcessId> parse_pid_file(std::string_view content) {
  long long pid = 0;
  unsigned long long start = 0;
  if (std::sscanf(std::string(content).c_str(), "%lld %llu", &pid, &start) != 2) return std::nullopt;
  if (pid <= 1 || pid > 1 << 22) return std::nullopt;
  return ProcessId{static_cast<pid_t>(pid), start};
}

RoleState role_state(const GlobalOptions& options, const std::string& name) {
  RoleState state{name, std::nullopt, false};
  const auto content = read_file(paths_of(options).pid_file(name), 256);
  if (content.ok()) state.process = parse_pid_file(*content);
  state.alive = state.process && is_alive(*state.process);
  return state;
}

std::vector<RoleState> role_states(const GlobalOptions& options) {
  std::vector<RoleState> states;
  for (const char* name : {"atolld", "api", "node", "edge"}) states.push_back(role_state(options, name));
  return states;
}

std::int64_t age_s(const ProcessId& process) {
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  const auto ticks = ::sysconf(_SC_CLK_TCK);
  return now.tv_sec - static_cast<std::int64_t>(process.start_time / (ticks > 0 ? ticks : 100));
}

std::optional<std::string> configured_root(std::string_view toml) {
  while (!toml.empty()) {
    std::string_view line = toml.substr(0, toml.find('\n'));
    toml.remove_prefix(std::min(toml.size(), line.size() + 1));
    const auto equals = line.find('=');
    if (equals == std::string_view::npos) continue;
    std::string_view key = line.substr(0, equals), value = line.substr(equals + 1);
    while (key.ends_with(' ') || key.ends_with('\t')) key.remove_suffix(1);
    if (key != "root") continue;
    const auto open = value.find('"'), close = value.rfind('"');
    if (open == std::string_view::npos || close <= open + 1 || value[open + 1] != '/') return std::nullopt;
    return std::string(value.substr(open + 1, close - open - 1));
  }
  return std::nullopt;
}

bool systemd_manages(const GlobalOptions& options) {
  if (!exists("/run/systemd/system") || options.run != Paths{}.run) return false;
  for (const char* place : {"/etc/systemd/system/", "/usr/local/lib/systemd/system/", "/usr/lib/systemd/system/",
                            "/lib/systemd/system/"})
    if (exists(std::string(place) + "atoll.service")) return true;
  return false;
}

Result<Launched> launch_daemon(const GlobalOptions& options, const std::vector<std::string>& more_words) {
  if (::geteuid() != 0)
    return make_error(Errc::denied, fmt::format("starting the daemon needs root (you are uid {}): it mounts, makes "
                                                "cgroups and gives each role its own user; use sudo", ::geteuid()));
  TRY(std::string program, daemon_program());
  std::vector<std::string> argv = {std::move(program)};
  if (exists(kConfigFile)) argv.insert(argv.end(), {"--config", kConfigFile});
  argv.insert(argv.end(), {"--root", options.root, "--run-dir", options.run, "run"});
  argv.insert(argv.end(), more_words.begin(), more_words.end());
  std::vector<std::string> environment = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"};
  CHECK_OK(make_dirs(options.root, 0755));
  Launched launched;
  launched.log = daemon_log(options.root);
  TRY(UniqueFd null_fd, open_fd("/dev/null", O_RDWR));
  CHECK_OK(put_log_aside(launched.log, kLogFileBytesMax));
  TRY(UniqueFd log_fd, open_fd(launched.log, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0640));
  launched.first_new_byte = ::lseek(log_fd.get(), 0, SEEK_END);
  const auto argv_pointers = pointers(argv), environment_pointers = pointers(environment);
  launched.pid = ::fork();
  if (launched.pid < 0) return os_error("fork", "");
  if (launched.pid == 0) become(argv_pointers.data(), environment_pointers.data(), null_fd.get(), log_fd.get());
  return launched;
}

std::string log_tail(const Launched& launched) {
  auto fd = open_fd(launched.log, O_RDONLY | O_NOFOLLOW);
  if (!fd.ok()) return fd.error().message;
  const std::int64_t end = ::lseek(fd->get(), 0, SEEK_END);
  const std::int64_t from = std::max(launched.first_new_byte, end - 2000);
  std::string text(static_cast<std::size_t>(std::max<std::int64_t>(0, end - from)), '\0');
  const ssize_t n = ::pread(fd->get(), text.data(), text.size(), from);
  text.resize(n > 0 ? n : 0);
  while (text.ends_with('\n')) text.pop_back();
  return text.empty() ? "it said nothing" : text;
}

Status end_process(const ProcessId& process, int signal, int deadline_ms) {
  auto fd = open_process(process);
  if (!fd.ok()) return fd.error().code == Errc::not_found ? ok() : Status(fd.error());
  if (::syscall(SYS_pidfd_send_signal, fd->get(), signal, nullptr, 0) != 0) {
    if (errno == ESRCH) return ok();
    const Error error = os_error("signal the daemon, pid", std::to_string(process.pid));
    return errno == EPERM ? make_error(Errc::denied, error.message + "; it belongs to root: use sudo") : error;
  }
  pollfd wait{fd->get(), POLLIN, 0};
  for (;;) {
    const int ready = ::poll(&wait, 1, deadline_ms);
    if (ready > 0) return ok();
    if (ready == 0)
      return make_error(Errc::deadline, fmt::format("atolld (pid {}) still runs {} s after it was told to stop; look "
                                                    "into its log, and try again", process.pid, deadline_ms / 1000));
    if (errno != EINTR) return os_error("poll", "pidfd");
  }
}

}  // namespace atl::cli
