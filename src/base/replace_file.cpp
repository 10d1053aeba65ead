#include "base/replace_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"

namespace atl {

Status replace_file(const std::string& path, std::string_view content, unsigned mode) {
  const std::string temporary = path + ".new";
  TRY(const UniqueFd fd, open_fd(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, mode));
  if (::fchmod(fd.get(), mode) != 0) return os_error("chmod", temporary);
  while (!content.empty()) {
    const ssize_t n = ::write(fd.get(), content.data(), content.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return os_error("write", temporary);
    content.remove_prefix(static_cast<std::size_t>(n));
  }
  if (::rename(temporary.c_str(), path.c_str()) != 0) return os_error("rename", path);
  return ok();
}

}  // namespace atl
