#include "agent/process/pty.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>

namespace atl::agent {
namespace {

// By ioctl where the kernel has it (4.13), since the path may lie in another devpts.
Result<UniqueFd> open_slave(int master) {
#ifdef TIOCGPTPEER
  UniqueFd peer(::ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (peer.valid()) return peer;
#endif
  unsigned number = 0;
  if (::ioctl(master, TIOCGPTN, &number) != 0) return os_error("TIOCGPTN", "");
  const std::string path = "/dev/pts/" + std::to_string(number);
  UniqueFd slave(::open(path.c_str(), O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!slave.valid()) return os_error("open", path);
  return slave;
}

}  // namespace

Result<Pty> open_pty(TerminalSize size, uid_t uid, gid_t gid) {
  Pty pty;
  pty.master = UniqueFd(::open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK));
  if (!pty.master.valid()) {
    Error error =
        with_context(os_error("open", "/dev/ptmx"), "a terminal needs /dev/ptmx and /dev/pts in the sandbox");
    if (error.os_error == ENOENT) error.code = Errc::unsupported;
    return error;
  }
  int unlocked = 0;
  if (::ioctl(pty.master.get(), TIOCSPTLCK, &unlocked) != 0) return os_error("TIOCSPTLCK", "");
  TRY(pty.slave, open_slave(pty.master.get()));
  // devpts gives the slave to its opener, process 1's root; programs like tmux open it by path.
  if (::geteuid() == 0 && ::fchown(pty.slave.get(), uid, gid) != 0) return os_error("chown", "terminal");
  CHECK_OK(resize_pty(pty.master.get(), size));
  return pty;
}

Status resize_pty(int master_fd, TerminalSize size) {
  winsize window{};
  window.ws_col = static_cast<unsigned short>(std::min(size.cols, 65535u));
  window.ws_row = static_cast<unsigned short>(std::min(size.rows, 65535u));
  if (::ioctl(master_fd, TIOCSWINSZ, &window) != 0) return os_error("TIOCSWINSZ", "");
  return ok();
}

}  // namespace atl::agent
