#include "isolation/oci/stdio.h"

#include <fcntl.h>
#include <unistd.h>

namespace atl::isolation {

Result<UniqueFd> filled_pipe(std::string_view content) {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) != 0) return os_error("pipe2", "");
  UniqueFd read_end(fds[0]), write_end(fds[1]);
  if (::fcntl(write_end.get(), F_GETPIPE_SZ) < static_cast<int>(content.size()) &&
      ::fcntl(write_end.get(), F_SETPIPE_SZ, static_cast<int>(content.size())) < 0)
    return os_error("fcntl(F_SETPIPE_SZ)", std::to_string(content.size()));
  // Never blocks: a short write would mean that it does not fit.
  ::fcntl(write_end.get(), F_SETFL, O_NONBLOCK);
  const ssize_t n = ::write(write_end.get(), content.data(), content.size());
  if (n < 0) return os_error("write", "pipe");
  if (n != static_cast<ssize_t>(content.size()))
    return make_error(Errc::too_large, "a pipe takes " + std::to_string(n) + " of " + std::to_string(content.size()) +
                                           " bytes (see /proc/sys/fs/pipe-max-size)");
  return read_end;
}

}  // namespace atl::isolation
