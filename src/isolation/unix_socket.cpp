#include "isolation/unix_socket.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fs.h"

namespace atl::isolation {
namespace {

struct Named {
  UniqueFd folder;
  std::string name;
  sockaddr_un address{};
};

Result<Named> name_of(const std::string& path) {
  const auto slash = path.rfind('/');
  if (slash == std::string::npos || slash == 0) return make_error(Errc::invalid, path + ": expected /FOLDER/NAME");
  Named out;
  TRY(out.folder, open_fd(path.substr(0, slash), O_PATH | O_DIRECTORY));
  out.name = path.substr(slash + 1);
  const std::string through = "/proc/self/fd/" + std::to_string(out.folder.get()) + "/" + out.name;
  if (through.size() >= sizeof out.address.sun_path) return make_error(Errc::invalid, path + ": the name is too long");
  out.address.sun_family = AF_UNIX;
  through.copy(out.address.sun_path, through.size());
  return out;
}

}  // namespace

Result<UniqueFd> listen_unix(const std::string& path, unsigned mode) {
  TRY(const Named named, name_of(path));
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return os_error("socket", path);
  ::unlinkat(named.folder.get(), named.name.c_str(), 0);
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&named.address), sizeof named.address) != 0)
    return os_error("bind", path);
  if (::fchmodat(named.folder.get(), named.name.c_str(), mode, 0) != 0) return os_error("chmod", path);
  if (::listen(fd.get(), 4) != 0) return os_error("listen", path);
  return fd;
}

Result<UniqueFd> connect_unix(const std::string& path) {
  TRY(const Named named, name_of(path));
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return os_error("socket", path);
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&named.address), sizeof named.address) != 0)
    return os_error("connect", path);
  return fd;
}

}  // namespace atl::isolation
