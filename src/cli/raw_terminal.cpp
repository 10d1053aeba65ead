#include "cli/raw_terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <csignal>

namespace atl::cli {
namespace {

// Signal handlers can reach nothing but statics: the state to go back to, and whether there is one.
termios g_saved;
volatile std::sig_atomic_t g_raw = 0;
constexpr int kFatal[] = {SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGQUIT};

void restore() {
  if (!g_raw) return;
  // TCSADRAIN would wait for a terminal that is stopped; what was typed ahead is kept.
  ::tcsetattr(0, TCSANOW, &g_saved);
  g_raw = 0;
}

void restore_and_die(int number) {
  restore();
  ::signal(number, SIG_DFL);
  ::raise(number);
}

}  // namespace

Result<std::unique_ptr<RawTerminal>> RawTerminal::enter() {
  if (g_raw) return make_error(Errc::internal, "the terminal is in raw mode already");
  if (::tcgetattr(0, &g_saved) != 0) return os_error("tcgetattr", "standard input");
  termios raw = g_saved;
  ::cfmakeraw(&raw);
  g_raw = 1;
  for (const int number : kFatal) ::signal(number, restore_and_die);
  if (::tcsetattr(0, TCSANOW, &raw) != 0) {
    const Error error = os_error("tcsetattr", "standard input");
    g_raw = 0;
    return error;
  }
  return std::unique_ptr<RawTerminal>(new RawTerminal());
}

RawTerminal::~RawTerminal() {
  restore();
  for (const int number : kFatal) ::signal(number, SIG_DFL);
}

TerminalSize terminal_size() {
  for (const int fd : {0, 1}) {
    winsize size{};
    if (::ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 && size.ws_row > 0) return {size.ws_col, size.ws_row};
  }
  return {};
}

}  // namespace atl::cli
