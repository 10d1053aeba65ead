#include "base/sealed_copy.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"

namespace atl {
namespace {

constexpr off_t kBytesMax = 64 << 20;
constexpr unsigned kMemfdExec = 0x10;  // MFD_EXEC of linux/memfd.h; kernels before 6.3 do not know it

}  // namespace

Result<UniqueFd> sealed_copy(const std::string& path) {
  TRY(const UniqueFd from, open_fd(path, O_RDONLY));
  struct stat info {};
  if (::fstat(from.get(), &info) != 0) return os_error("stat", path);
  if (!S_ISREG(info.st_mode) || info.st_size > kBytesMax)
    return make_error(Errc::invalid, path + ": not a file of at most 64 MiB");
  constexpr unsigned kFlags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  UniqueFd to(::memfd_create("program", kFlags | kMemfdExec));
  if (!to.valid() && errno == EINVAL) to = UniqueFd(::memfd_create("program", kFlags));
  if (!to.valid()) return os_error("memfd_create", path);
  for (off_t left = info.st_size; left > 0;) {
    const ssize_t n = ::sendfile(to.get(), from.get(), nullptr, static_cast<std::size_t>(left));
    if (n < 0) return os_error("sendfile", path);
    if (n == 0) return make_error(Errc::internal, path + ": became shorter while it was copied");
    left -= n;
  }
  if (::fcntl(to.get(), F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) != 0)
    return os_error("fcntl(F_ADD_SEALS)", path);
  return to;
}

}  // namespace atl
