#include "atolld/privileges.h"

#include <grp.h>
#include <linux/capability.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace atl::atolld {
namespace {

constexpr rlim_t kDescriptorsMax = 20'000;

Status drop_capabilities() {
  for (int capability = 0; capability <= 63; ++capability)
    if (::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0 && errno != EINVAL)
      return os_error("PR_CAPBSET_DROP", std::to_string(capability));
  return ok();
}

Status clear_capability_sets() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct none[2] = {};
  if (::syscall(SYS_capset, &header, none) != 0) return os_error("capset", "");
  ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  return ok();
}

Status become(std::uint32_t uid) {
  if (::geteuid() != 0)
    return make_error(Errc::denied, "atolld must be started as root: it gives its roles users of their own");
  CHECK_OK(drop_capabilities());
  if (::setgroups(0, nullptr) != 0) return os_error("setgroups", "");
  if (::setresgid(uid, uid, uid) != 0) return os_error("setresgid", std::to_string(uid));
  if (::setresuid(uid, uid, uid) != 0) return os_error("setresuid", std::to_string(uid));
  CHECK_OK(clear_capability_sets());
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return os_error("PR_SET_NO_NEW_PRIVS", "");
  if (::setuid(0) == 0) return make_error(Errc::internal, "root could be taken back after it was given up");
  return ok();
}

void raise_descriptors() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, kDescriptorsMax);
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace

Status become_role(const std::string& role, Power power, std::uint32_t uid, int parent) {
  ::prctl(PR_SET_NAME, ("atolld-" + role).substr(0, 15).c_str(), 0, 0, 0);
  const rlimit no_core{0, 0};
  if (::setrlimit(RLIMIT_CORE, &no_core) != 0) return os_error("RLIMIT_CORE", "0");
  raise_descriptors();
  if (power == Power::none) CHECK_OK(become(uid));
  // Both are reset by the change of user, so they come after it.
  if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return os_error("PR_SET_DUMPABLE", "");
  if (::prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0) != 0) return os_error("PR_SET_PDEATHSIG", "");
  // It may have died before the signal was asked for.
  if (parent > 0 && ::getppid() != parent) return make_error(Errc::unavailable, "the supervisor is gone");
  return ok();
}

}  // namespace atl::atolld
