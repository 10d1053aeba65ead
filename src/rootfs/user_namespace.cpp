#include "rootfs/user_namespace.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fs.h"

namespace atl::rootfs {
namespace {

// Raw calls alone: this runs in our memory. It goes with us, even at a SIGKILL.
int idle(void* parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != *static_cast<const pid_t*>(parent)) return 1;
  for (;;) ::pause();
}

// A child that does nothing but be in the namespace. It shares memory with us (CLONE_VM), which
// spares the copy of the page tables; pause() touches none of it.
class IdleChild {
 public:
  explicit IdleChild(pid_t pid) : pid_(pid) {}
  IdleChild(const IdleChild&) = delete;
  ~IdleChild() {
    ::kill(pid_, SIGKILL);
    while (::waitpid(pid_, nullptr, __WALL) < 0 && errno == EINTR) {
    }
  }

 private:
  pid_t pid_;
};

}  // namespace

Result<UniqueFd> make_user_namespace(std::uint32_t first, std::uint32_t count) {
  constexpr std::size_t kStackBytes = 16 * 1024;
  alignas(16) char stack[kStackBytes];
  pid_t self = ::getpid();
  // The child must never run one of our signal handlers, since it would do so in our memory.
  sigset_t all, before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  // No exit signal: nobody but us waits for it.
  const pid_t pid = ::clone(idle, stack + kStackBytes, CLONE_VM | CLONE_NEWUSER, &self);
  const int clone_errno = errno;
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (pid < 0) {
    Error error = os_error("clone(CLONE_NEWUSER)", "", clone_errno);
    error.message += "; user namespaces must be allowed (sysctl user.max_user_namespaces)";
    return error;
  }
  const IdleChild child(pid);
  const std::string proc = "/proc/" + std::to_string(pid);
  const std::string map = "0 " + std::to_string(first) + " " + std::to_string(count) + "\n";
  CHECK_OK(write_file(proc + "/uid_map", map));
  CHECK_OK(write_file(proc + "/gid_map", map));
  return open_fd(proc + "/ns/user", O_RDONLY);
}

}  // namespace atl::rootfs
