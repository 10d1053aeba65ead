#include "cli/system_console.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cstdlib>

#include "base/blocking.h"

namespace atl::cli {
namespace {

// A pipe that poll calls writable takes this much without blocking (PIPE_BUF).
constexpr std::size_t kPieceBytes = 4096;

Status write_fully(int fd, std::string_view bytes) {
  struct stat info {};
  const bool regular = ::fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
  while (!bytes.empty()) {
    const std::size_t want = regular ? bytes.size() : std::min(bytes.size(), kPieceBytes);
    const ssize_t n = ::write(fd, bytes.data(), want);
    if (n >= 0) {
      bytes.remove_prefix(n);
      continue;
    }
    if (errno == EAGAIN) {
      pollfd wait{fd, POLLOUT, 0};
      ::poll(&wait, 1, -1);
    } else if (errno != EINTR) {
      return os_error("write", fd == 1 ? "standard output" : "standard error");
    }
  }
  return ok();
}

Result<std::string> read_once(int stop_fd, std::size_t bytes_max) {
  for (;;) {
    pollfd waits[2] = {{0, POLLIN, 0}, {stop_fd, POLLIN, 0}};
    if (::poll(waits, 2, -1) < 0) {
      if (errno == EINTR) continue;
      return os_error("poll", "standard input");
    }
    if (waits[1].revents) return std::string();
    if (!waits[0].revents) continue;
    std::string bytes(bytes_max, '\0');
    const ssize_t n = ::read(0, bytes.data(), bytes.size());
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (n < 0 && errno == EIO) return std::string();  // the terminal is gone, or we are in the background
    if (n < 0) return os_error("read", "standard input");
    bytes.resize(n);
    return bytes;
  }
}

int number(Stream stream) { return stream == Stream::out ? 1 : 2; }

}  // namespace

Result<std::unique_ptr<SystemConsole>> SystemConsole::make() {
  UniqueFd stop(::eventfd(0, EFD_CLOEXEC));
  if (!stop.valid()) return os_error("eventfd", "");
  return std::unique_ptr<SystemConsole>(new SystemConsole(std::move(stop)));
}

SystemConsole::~SystemConsole() { stop_reading(); }

void SystemConsole::stop_reading() {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t n = ::write(stop_.get(), &one, sizeof one);
}

Task<Status> SystemConsole::write(Stream stream, std::string_view bytes) {
  if (bytes.empty()) co_return ok();
  auto work = [fd = number(stream), bytes] { return write_fully(fd, bytes); };
  co_return co_await run_blocking(writers_, std::move(work));
}

Task<Result<std::string>> SystemConsole::read(std::size_t bytes_max) {
  auto work = [stop = stop_.get(), bytes_max] { return read_once(stop, bytes_max); };
  co_return co_await run_blocking(readers_, std::move(work));
}

bool SystemConsole::is_terminal(Stream stream) const { return ::isatty(number(stream)) == 1; }
bool SystemConsole::input_is_terminal() const { return ::isatty(0) == 1; }

bool SystemConsole::input_is_empty() const {
  struct stat info {};
  if (::fstat(0, &info) != 0) return true;
  return S_ISCHR(info.st_mode) && info.st_rdev == makedev(1, 3);  // /dev/null
}

std::optional<std::size_t> SystemConsole::columns(Stream stream) const {
  if (!is_terminal(stream)) return std::nullopt;
  winsize size{};
  if (::ioctl(number(stream), TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

bool SystemConsole::colour(Stream stream) const {
  const char* off = std::getenv("NO_COLOR");
  const char* term = std::getenv("TERM");
  return is_terminal(stream) && !(off && *off) && !(term && std::string_view(term) == "dumb");
}

}  // namespace atl::cli
