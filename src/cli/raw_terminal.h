#pragma once
#include <termios.h>

#include <memory>

#include "base/result.h"
#include "cli/agent_client.h"

namespace atl::cli {

// Puts the terminal on standard input into raw mode until destroyed. Also undone when the program
// dies of a signal (segmentation fault, abort, SIGQUIT), so one may exist at a time.
class RawTerminal {
 public:
  static Result<std::unique_ptr<RawTerminal>> enter();
  ~RawTerminal();
  RawTerminal(const RawTerminal&) = delete;
  RawTerminal& operator=(const RawTerminal&) = delete;

 private:
  RawTerminal() = default;
};

// Of the terminal on standard input or output; 80x24 where neither tells.
TerminalSize terminal_size();

}  // namespace atl::cli
