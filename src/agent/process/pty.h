#pragma once
#include <sys/types.h>

#include <cstdint>

#include "base/result.h"
#include "base/unique_fd.h"

namespace atl::agent {

struct TerminalSize {
  std::uint32_t cols = 80, rows = 24;
};

struct Pty {
  UniqueFd master;  // not blocking
  UniqueFd slave;
};

// A new pseudo terminal that `uid` may use. Errc::unsupported says that /dev/ptmx is missing.
Result<Pty> open_pty(TerminalSize size, uid_t uid, gid_t gid);
// Sizes over 65535 are cut, since the kernel's fields are 16 bits wide.
Status resize_pty(int master_fd, TerminalSize size);

}  // namespace atl::agent
