#include "isolation/oci/seccomp.h"

#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cerrno>

#include "isolation/oci/seccomp_calls.h"

namespace atl::isolation::oci {
namespace {

#if defined(__x86_64__)
// Only this one: 32-bit and x32 calls have no rules at all, so the runtime's filter kills them.
constexpr char kArchitecture[] = "SCMP_ARCH_X86_64";
#elif defined(__aarch64__)
constexpr char kArchitecture[] = "SCMP_ARCH_AARCH64";
#else
#error "no system call filter for this architecture"
#endif

constexpr std::uint64_t kNewTime = 0x80;  // CLONE_NEWTIME; in clone() this bit is part of the exit signal
constexpr std::uint64_t kNamespaceFlags[] = {CLONE_NEWNS,  CLONE_NEWUTS, CLONE_NEWIPC,   CLONE_NEWUSER,
                                             CLONE_NEWPID, CLONE_NEWNET, CLONE_NEWCGROUP};
constexpr unsigned kTiocLinux = 0x541C;   // TIOCLINUX: pastes into the console, of asm/ioctls.h

json::object compare(int index, const char* op, std::uint64_t value) {
  return json::object{{"index", index}, {"value", value}, {"op", op}};
}

// (argument & mask) == expected
json::object masked(int index, std::uint64_t mask, std::uint64_t expected) {
  json::object out = compare(index, "SCMP_CMP_MASKED_EQ", mask);
  out["valueTwo"] = expected;
  return out;
}

class Profile {
 public:
  void allow(json::array names, json::array args = {}) { add("SCMP_ACT_ALLOW", std::move(names), std::move(args), 0); }
  void refuse(json::array names, int err, json::array args = {}) {
    add("SCMP_ACT_ERRNO", std::move(names), std::move(args), err);
  }
  json::object finish() && {
    return json::object{{"defaultAction", "SCMP_ACT_ERRNO"},
                        {"defaultErrnoRet", ENOSYS},
                        {"architectures", json::array{kArchitecture}},
                        {"syscalls", std::move(rules_)}};
  }

 private:
  void add(const char* action, json::array names, json::array args, int err) {
    json::object rule{{"names", std::move(names)}, {"action", action}};
    if (!args.empty()) rule["args"] = std::move(args);
    if (err != 0) rule["errnoRet"] = err;
    rules_.push_back(std::move(rule));
  }
  json::array rules_;
};

// New namespaces: a nested user namespace would give capabilities over the kernel's whole surface
// for mounts and networks. clone3 passes its flags by pointer, where no filter can look: it is
// absent (ENOSYS), and libraries then use clone.
void add_namespaces(Profile& profile) {
  std::uint64_t all = 0;
  for (const std::uint64_t flag : kNamespaceFlags) all |= flag;
  profile.allow({"clone"}, {masked(0, all, 0)});
  profile.allow({"unshare"}, {masked(0, all | kNewTime, 0)});
  for (const std::uint64_t flag : kNamespaceFlags) profile.refuse({"clone", "unshare"}, EPERM, {masked(0, flag, flag)});
  profile.refuse({"unshare"}, EPERM, {masked(0, kNewTime, kNewTime)});
  profile.refuse({"clone3"}, ENOSYS);
}

// TIOCSTI types into a terminal on behalf of whoever reads it; TIOCLINUX is the console's. The
// kernel looks at the low 32 bits of the command alone, and a filter has no masked "unequal": so
// all commands are allowed that differ from both in some bit. They share all but the low four.
void add_ioctl(Profile& profile) {
  static_assert((TIOCSTI & ~0xFu) == (kTiocLinux & ~0xFu));
  for (int bit = 4; bit < 32; ++bit) {
    const std::uint64_t mask = std::uint64_t{1} << bit;
    profile.allow({"ioctl"}, {masked(1, mask, ~std::uint64_t{TIOCSTI} & mask)});
  }
  for (std::uint64_t low = 0; low < 16; ++low)
    if (low != (TIOCSTI & 0xF) && low != (kTiocLinux & 0xF)) profile.allow({"ioctl"}, {masked(1, 0xF, low)});
  for (const std::uint64_t command : {std::uint64_t{TIOCSTI}, std::uint64_t{kTiocLinux}})
    profile.refuse({"ioctl"}, EPERM, {masked(1, 0xFFFFFFFF, command)});
}

// Families that programs need. Netlink only for routes (ip, getifaddrs): the rest of it reaches
// far into the kernel. EAFNOSUPPORT is what audit's and other libraries take for "not built in".
void add_sockets(Profile& profile) {
  for (const int family : {AF_UNIX, AF_INET, AF_INET6})
    profile.allow({"socket"}, {compare(0, "SCMP_CMP_EQ", family)});
  profile.allow({"socket"}, {compare(0, "SCMP_CMP_EQ", AF_NETLINK), compare(2, "SCMP_CMP_EQ", 0)});
  profile.refuse({"socket"}, EAFNOSUPPORT, {compare(0, "SCMP_CMP_EQ", AF_NETLINK), compare(2, "SCMP_CMP_NE", 0)});
  profile.refuse({"socket"}, EAFNOSUPPORT, {compare(0, "SCMP_CMP_GT", AF_NETLINK)});
  for (int family = AF_INET + 1; family < AF_NETLINK; ++family)
    if (family != AF_INET6) profile.refuse({"socket"}, EAFNOSUPPORT, {compare(0, "SCMP_CMP_EQ", family)});
  profile.allow({"socketpair"}, {compare(0, "SCMP_CMP_EQ", AF_UNIX)});
  profile.refuse({"socketpair"}, EAFNOSUPPORT, {compare(0, "SCMP_CMP_GT", AF_UNIX)});
}

// The default, "what is it now?", and no address randomisation, which debuggers ask for. Others
// bring back bugs of the past (mmap at zero, executable reads).
void add_personality(Profile& profile) {
  for (const std::uint64_t persona : {std::uint64_t{0}, std::uint64_t{0x0040000}, std::uint64_t{0xFFFFFFFF}})
    profile.allow({"personality"}, {compare(0, "SCMP_CMP_EQ", persona)});
}

json::object build() {
  Profile profile;
  json::array allowed, refused;
  for (std::string_view name : kAllowed) allowed.push_back(json::string(name));
  for (std::string_view name : kRefused) refused.push_back(json::string(name));
  profile.allow(std::move(allowed));
  profile.refuse(std::move(refused), EPERM);
  add_namespaces(profile);
  add_ioctl(profile);
  add_sockets(profile);
  add_personality(profile);
  return std::move(profile).finish();
}

}  // namespace

const json::object& seccomp_profile() {
  static const json::object profile = build();
  return profile;
}

}  // namespace atl::isolation::oci
