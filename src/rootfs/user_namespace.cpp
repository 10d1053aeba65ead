#include "rootfs/user_namespace.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fs.h"

namespace atl::rootfs {
namespace {

constexpr int kMakeMs = 5'000;
constexpr std::uint64_t kMade = 1;  // else errno + kMade

struct Maker {
  pid_t parent;
  uid_t owner;
  int answer;  // eventfd
};

// Runs in our memory, so by system calls alone: libc's setresuid would change our threads as well.
// What follows a change of identity forgets PR_SET_PDEATHSIG, so that comes last.
int make_and_idle(void* argument) {
  const Maker& maker = *static_cast<const Maker*>(argument);
  const long owner = maker.owner;
  std::uint64_t answer = kMade;
  if (::syscall(SYS_setgroups, 0, nullptr) != 0 || ::syscall(SYS_setresgid, owner, owner, owner) != 0 ||
      ::syscall(SYS_setresuid, owner, owner, owner) != 0 || ::syscall(SYS_unshare, CLONE_NEWUSER) != 0)
    answer += static_cast<std::uint64_t>(errno);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  // Our parent may have gone before; in the new namespace its number still reads the same.
  if (::getppid() != maker.parent) return 1;
  if (::write(maker.answer, &answer, sizeof answer) < 0 || answer != kMade) return 1;
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

Status await_made(int answer_fd) {
  struct pollfd ready {answer_fd, POLLIN, 0};
  int n = 0;
  while ((n = ::poll(&ready, 1, kMakeMs)) < 0 && errno == EINTR) {
  }
  std::uint64_t answer = 0;
  if (n <= 0 || ::read(answer_fd, &answer, sizeof answer) != sizeof answer)
    return make_error(Errc::deadline, "a user namespace was not made within " + std::to_string(kMakeMs) + " ms");
  if (answer == kMade) return ok();
  Error error = os_error("unshare(CLONE_NEWUSER)", "", static_cast<int>(answer - kMade));
  error.message += "; user namespaces must be allowed (sysctl user.max_user_namespaces)";
  return error;
}

}  // namespace

Result<UniqueFd> make_user_namespace(std::uint32_t first, std::uint32_t count) {
  constexpr std::size_t kStackBytes = 16 * 1024;
  alignas(16) char stack[kStackBytes];
  const UniqueFd answer(::eventfd(0, EFD_CLOEXEC));
  if (!answer.valid()) return os_error("eventfd", "");
  Maker maker{::getpid(), first, answer.get()};
  // The child must never run one of our signal handlers, since it would do so in our memory.
  sigset_t all, before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  // No exit signal: nobody but us waits for it.
  const pid_t pid = ::clone(make_and_idle, stack + kStackBytes, CLONE_VM, &maker);
  const int clone_errno = errno;
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (pid < 0) return os_error("clone", "", clone_errno);
  const IdleChild child(pid);
  CHECK_OK(await_made(answer.get()));
  const std::string proc = "/proc/" + std::to_string(pid);
  const std::string map = "0 " + std::to_string(first) + " " + std::to_string(count) + "\n";
  CHECK_OK(write_file(proc + "/uid_map", map));
  CHECK_OK(write_file(proc + "/gid_map", map));
  return open_fd(proc + "/ns/user", O_RDONLY);
}

}  // namespace atl::rootfs
