#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <cerrno>

#include "base/fs.h"
#include "isolation/testing/sandbox_fixture.h"

// What code in a sandbox tries first, as its root. Each must fail as said, and the sandbox and its
// neighbour go on.
namespace atl::isolation {
namespace {

using testing::Kind;
using testing::World;

class Attack : public ::testing::TestWithParam<Kind> {
 protected:
  void SetUp() override {
    if (auto gone = World::missing(GetParam())) {
      if (std::getenv("STRICT")) FAIL() << "needs " << *gone;
      GTEST_SKIP() << "needs " << *gone;
    }
    world.emplace(GetParam());
    const auto started = world->start(world->spec("a1"));
    ASSERT_TRUE(started.ok()) << started.error().message;
    init = started->init;
    ASSERT_EQ(world->channel("a1").accept_preface().size(), 64u);
  }
  std::string ask(const std::string& line) { return world->channel("a1").ask(line); }
  // Result of a system call in a child: "-1 ERRNO", or "signal N".
  std::string call(long number, std::vector<std::uint64_t> args = {}) {
    std::string line = "child-syscall " + std::to_string(number);
    args.resize(6);
    for (const std::uint64_t arg : args) line += " " + std::to_string(static_cast<std::int64_t>(arg));
    return ask(line);
  }
  bool container() const { return GetParam() == Kind::container; }
  std::optional<World> world;
  ProcessId init;
};

std::string failed(int err) { return "-1 " + std::to_string(err); }

// What the kernel counts by user must not be charged to root, or to a neighbour.
TEST_P(Attack, UsingUpAUsersInotifyInstances) {
  ASSERT_TRUE(world->start(world->spec("a2")).ok());
  ASSERT_EQ(world->channel("a2").accept_preface().size(), 64u);
  const auto text = read_file("/proc/sys/fs/inotify/max_user_instances", 64);
  ASSERT_TRUE(text.ok());
  const long most = std::atol(text->c_str());
  if (most > 20'000) GTEST_SKIP() << "this host allows " << most << " inotify instances a user";
  const std::string made = ask("inotify " + std::to_string(most + 1));
  if (container()) EXPECT_EQ(made, std::to_string(most) + " made " + std::to_string(EMFILE));
  EXPECT_EQ(world->channel("a2").ask("inotify 20"), "20 made 0");
  std::vector<UniqueFd> of_root;
  for (int i = 0; i < 20; ++i) {
    of_root.emplace_back(::inotify_init1(IN_CLOEXEC));
    EXPECT_TRUE(of_root.back().valid()) << i;
  }
}

TEST_P(Attack, NestedNamespaces) {
  if (!container()) GTEST_SKIP() << "gVisor makes them in its own kernel";
  for (const std::uint64_t flag : {CLONE_NEWUSER, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWNET, CLONE_NEWIPC,
                                   CLONE_NEWUTS, CLONE_NEWCGROUP, 0x80}) {
    EXPECT_EQ(call(SYS_unshare, {flag}), failed(EPERM)) << flag;
    if (flag != 0x80) EXPECT_EQ(call(SYS_clone, {flag | SIGCHLD}), failed(EPERM)) << flag;
  }
  EXPECT_EQ(call(SYS_unshare, {CLONE_NEWUSER | CLONE_NEWNET | (1ull << 40)}), failed(EPERM));
  EXPECT_EQ(call(SYS_unshare, {CLONE_FS | CLONE_FILES}), "0 0");
  EXPECT_EQ(call(SYS_clone3), failed(ENOSYS));
  EXPECT_EQ(call(SYS_setns), failed(EPERM));
}

TEST_P(Attack, Mounts) {
  for (const long number : {SYS_mount, SYS_umount2, SYS_pivot_root, SYS_move_mount, SYS_open_tree, SYS_fsopen,
                            SYS_fsmount, SYS_fspick, SYS_mount_setattr}) {
    const std::string answer = call(number);
    EXPECT_TRUE(answer == failed(EPERM) || (!container() && answer.rfind("-1 ", 0) == 0)) << number << ": " << answer;
  }
}

TEST_P(Attack, KernelSurface) {
  const std::pair<long, int> refused[] = {
      {SYS_bpf, EPERM},          {SYS_perf_event_open, EPERM},  {SYS_userfaultfd, EPERM},
      {SYS_kexec_load, EPERM},   {SYS_init_module, EPERM},      {SYS_finit_module, EPERM},
      {SYS_delete_module, EPERM}, {SYS_quotactl, EPERM},        {SYS_swapon, EPERM},
      {SYS_swapoff, EPERM},      {SYS_reboot, EPERM},           {SYS_settimeofday, EPERM},
      {SYS_clock_settime, EPERM}, {SYS_acct, EPERM},            {SYS_syslog, EPERM},
      {SYS_open_by_handle_at, EPERM}, {SYS_name_to_handle_at, EPERM}, {SYS_fanotify_init, EPERM},
      {SYS_io_uring_setup, ENOSYS}, {SYS_add_key, ENOSYS},      {SYS_request_key, ENOSYS},
      {SYS_keyctl, ENOSYS},      {SYS_io_setup, ENOSYS},        {SYS_kcmp, ENOSYS},
      {SYS_pidfd_getfd, ENOSYS}, {SYS_modify_ldt, ENOSYS},      {SYS_mbind, ENOSYS}};
  for (const auto& [number, err] : refused) {
    const std::string answer = call(number);
    if (container())
      EXPECT_EQ(answer, failed(err)) << number;
    else
      EXPECT_NE(answer, "") << number;  // whatever gVisor's kernel answers, it lives on
  }
  if (container()) EXPECT_EQ(call(600), failed(ENOSYS));  // one that is yet to come
}

TEST_P(Attack, OtherDoorsToTheKernel) {
  if (!container()) GTEST_SKIP() << "of the container tier's filter";
  EXPECT_EQ(call(0x40000000 | SYS_getpid), "signal 31");  // x32
  EXPECT_EQ(ask("int80"), "signal 31");
}

TEST_P(Attack, SocketFamilies) {
  if (!container()) GTEST_SKIP() << "gVisor serves sockets itself";
  for (const int family : {AF_ALG, AF_PACKET, AF_VSOCK, 44 /* XDP */, 30 /* TIPC */, 43 /* SMC */, 21 /* RDS */,
                           41 /* KCM */, AF_KEY, AF_BLUETOOTH, AF_CAN})
    EXPECT_EQ(call(SYS_socket, {std::uint64_t(family), SOCK_RAW, 0}), failed(EAFNOSUPPORT)) << family;
  for (const int protocol : {4 /* sock_diag */, 9 /* audit */, 12 /* netfilter */, 15 /* uevents */, 16 /* generic */})
    EXPECT_EQ(call(SYS_socket, {AF_NETLINK, SOCK_RAW, std::uint64_t(protocol)}), failed(EAFNOSUPPORT)) << protocol;
  EXPECT_EQ(call(SYS_socket, {AF_INET, SOCK_RAW, 1}), failed(EPERM));
  for (const int family : {AF_UNIX, AF_INET, AF_INET6})
    EXPECT_EQ(call(SYS_socket, {std::uint64_t(family), SOCK_STREAM, 0}).find("-1"), std::string::npos) << family;
  EXPECT_EQ(call(SYS_socket, {AF_NETLINK, SOCK_RAW, 0}).find("-1"), std::string::npos);
}

TEST_P(Attack, TerminalInjection) {
  if (!container()) GTEST_SKIP() << "gVisor's terminals are its own";
  for (const std::uint64_t command : {std::uint64_t{TIOCSTI}, std::uint64_t{0x541C}, std::uint64_t{TIOCSTI} | std::uint64_t{1} << 32,
                                      std::uint64_t{0x541C} | std::uint64_t{0xFF} << 40})
    EXPECT_EQ(call(SYS_ioctl, {0, command, 0}), failed(EPERM)) << command;
  for (const std::uint64_t command : {TIOCGWINSZ, FIONREAD, 0x5411, 0x541D, 0x5402})
    EXPECT_EQ(call(SYS_ioctl, {999, command, 0}), failed(EBADF)) << command;
}

TEST_P(Attack, Personality) {
  if (!container()) GTEST_SKIP() << "gVisor's own";
  EXPECT_EQ(call(SYS_personality, {0xFFFFFFFF}).find("-1"), std::string::npos);
  EXPECT_EQ(call(SYS_personality, {0x0040000}).find("-1"), std::string::npos);
  EXPECT_EQ(call(SYS_personality, {0x0400000}), failed(ENOSYS));  // READ_IMPLIES_EXEC
}

TEST_P(Attack, HostsFilesInProcAndSys) {
  for (const char* path : {"/proc/kcore", "/proc/kallsyms", "/proc/keys", "/proc/timer_list"}) {
    const std::string text = ask(std::string("read ") + path);
    EXPECT_TRUE(text.empty() || text.rfind("errno", 0) == 0) << path << ": " << text;
  }
  for (const char* path : {"/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/proc/sys/vm/drop_caches",
                           "/proc/sys/kernel/modprobe", "/proc/1/mem.x"})
    EXPECT_EQ(ask(std::string("write ") + path + " 1").rfind("0 written ", 0), 0u) << path;
  if (!container()) return;
  EXPECT_EQ(ask("read /proc/sys/kernel/core_pattern").rfind("errno", 0), std::string::npos);
  EXPECT_EQ(ask("list /sys").find("block"), std::string::npos);
  EXPECT_EQ(ask("list /sys").find("kernel"), std::string::npos);
  EXPECT_EQ(ask("list /sys/fs").rfind("errno", 0), 0u);
  EXPECT_NE(ask("read /sys/devices/system/cpu/online"), "");
}

TEST_P(Attack, Cgroups) {
  const std::string groups = ask("read /proc/self/cgroup");
  EXPECT_EQ(groups.find("atoll"), std::string::npos) << groups;
  EXPECT_EQ(ask("read /proc/mounts").find(" cgroup"), std::string::npos);
}

TEST_P(Attack, TheAgentsFileAndChannelFolderAreReadOnly) {
  for (const char* path : {"/run/atoll-agent", "/proc/1/exe", "/run/atoll/new"})
    EXPECT_EQ(ask(std::string("write ") + path + " 1").rfind("0 written ", 0), 0u) << path;
  EXPECT_FALSE(exists(world->spec("a1").channel_dir + "/new"));
}

TEST_P(Attack, Devices) {
  if (container()) {
    EXPECT_EQ(ask("mknod /tmp/mem"), "errno 1");
    const std::string devices = ask("list /dev");
    for (const char* device : {"mem ", "kvm ", "fuse ", "loop", "vda", "sda", "kmsg"})
      EXPECT_EQ(devices.find(device), std::string::npos) << devices;
  }
  for (const char* device : {"/dev/null", "/dev/zero", "/dev/urandom"})
    EXPECT_EQ(ask(std::string("write ") + device + " 1"), "1 written 0") << device;
}

TEST_P(Attack, HandlesOfFilesOutside) {
  EXPECT_EQ(ask("list /proc/self/fd").find("a1"), std::string::npos);
  // The node's folders do not show, not even as names, where the kernel lists mounts.
  EXPECT_EQ(ask("read /proc/self/mountinfo").find("/scratch/"), std::string::npos);
}

TEST_P(Attack, CapabilitiesAreTheBoundedOnes) {
  const std::string status = ask("read /proc/self/status");
  const auto at = status.find("CapBnd:\t");
  ASSERT_NE(at, std::string::npos);
  const auto bounding = std::strtoull(status.c_str() + at + 8, nullptr, 16);
  for (const int capability : {CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_SYS_PTRACE, CAP_SYS_MODULE, CAP_MKNOD,
                               CAP_SYS_RAWIO, CAP_SYS_BOOT, CAP_SYS_TIME, CAP_BPF, CAP_DAC_READ_SEARCH, CAP_SYSLOG})
    EXPECT_EQ(bounding >> capability & 1, 0u) << capability;
  EXPECT_EQ(status.find("CapAmb:\t0000000000000000") == std::string::npos, false);
}

TEST_P(Attack, DeepFoldersAndOddNamesDoNotStopTheEnd) {
  ask("create /tmp/f 2000");
  EXPECT_TRUE(world->destroy("a1").ok());
  EXPECT_EQ(world->traces_of("a1"), std::vector<std::string>{});
}

TEST_P(Attack, KillingProcessOneFromInside) {
  if (!container()) GTEST_SKIP() << "gVisor lets root inside end its own sandbox";
  // Its parent namespace alone may kill process 1: it has no handler, so the signal is dropped.
  EXPECT_EQ(call(SYS_kill, {1, 9}), "0 0");
  EXPECT_EQ(call(SYS_kill, {1, 19}), "0 0");
  EXPECT_TRUE(is_alive(init));
  EXPECT_EQ(ask("read /etc-mark"), "upper layer\n");
}

INSTANTIATE_TEST_SUITE_P(Drivers, Attack, ::testing::Values(Kind::container, Kind::gvisor),
                         [](const auto& info) { return testing::name(info.param); });

}  // namespace
}  // namespace atl::isolation
