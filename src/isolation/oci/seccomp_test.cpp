#include <gtest/gtest.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <cerrno>
#include <cstring>
#include <set>

#include "isolation/oci/seccomp.h"
#include "isolation/oci/seccomp_calls.h"
#include "isolation/oci/seccomp_filter.h"

namespace atl::isolation::oci {
namespace {

// The kernel's interpreter of the instructions that filters use (kernel: net/core/filter.c has
// their meaning). Loads are absolute words of seccomp_data.
std::uint32_t run_filter(const std::vector<sock_filter>& code, const seccomp_data& data) {
  std::uint32_t a = 0;
  for (std::size_t pc = 0; pc < code.size(); ++pc) {
    const sock_filter& op = code[pc];
    auto jump = [&](bool yes) { pc += yes ? op.jt : op.jf; };
    switch (op.code) {
      case BPF_LD | BPF_W | BPF_ABS: std::memcpy(&a, reinterpret_cast<const char*>(&data) + op.k, 4); break;
      case BPF_ALU | BPF_AND | BPF_K: a &= op.k; break;
      case BPF_JMP | BPF_JA: pc += op.k; break;
      case BPF_JMP | BPF_JEQ | BPF_K: jump(a == op.k); break;
      case BPF_JMP | BPF_JGT | BPF_K: jump(a > op.k); break;
      case BPF_JMP | BPF_JGE | BPF_K: jump(a >= op.k); break;
      case BPF_RET | BPF_K: return op.k;
      default: ADD_FAILURE() << "instruction " << op.code; return SECCOMP_RET_KILL_PROCESS;
    }
  }
  ADD_FAILURE() << "ran off the end";
  return SECCOMP_RET_KILL_PROCESS;
}

class SeccompFilter : public ::testing::Test {
 protected:
  void SetUp() override {
#if !defined(__x86_64__)
    GTEST_SKIP() << "numbers of x86-64";
#endif
    const auto bytes = compile_seccomp(seccomp_profile());
    ASSERT_TRUE(bytes.ok()) << bytes.error().message;
    ASSERT_EQ(bytes->size() % sizeof(sock_filter), 0u);
    ASSERT_LE(bytes->size() / sizeof(sock_filter), std::size_t{BPF_MAXINSNS});
    code.resize(bytes->size() / sizeof(sock_filter));
    std::memcpy(code.data(), bytes->data(), bytes->size());
  }
  std::uint32_t verdict(long number, std::vector<std::uint64_t> args = {}, std::uint32_t arch = AUDIT_ARCH_X86_64) {
    seccomp_data data{};
    data.nr = static_cast<int>(number);
    data.arch = arch;
    std::copy(args.begin(), args.end(), data.args);
    return run_filter(code, data);
  }
  std::vector<sock_filter> code;
};

constexpr std::uint32_t kAllow = SECCOMP_RET_ALLOW;
constexpr std::uint32_t refusal(int err) { return SECCOMP_RET_ERRNO | static_cast<std::uint32_t>(err); }

TEST_F(SeccompFilter, OrdinaryCallsPass) {
  for (const long number : {SYS_read, SYS_write, SYS_openat, SYS_execve, SYS_mmap, SYS_futex, SYS_ptrace, SYS_statx,
                            SYS_epoll_wait, SYS_getrandom, SYS_setuid, SYS_exit_group})
    EXPECT_EQ(verdict(number), kAllow) << number;
}

TEST_F(SeccompFilter, WhatNobodyNamedIsAbsent) {
  for (long number = 470; number < 1000; ++number) EXPECT_EQ(verdict(number), refusal(ENOSYS)) << number;
  EXPECT_EQ(verdict(SYS_clone3), refusal(ENOSYS));
  EXPECT_EQ(verdict(425 /* io_uring_setup */), refusal(ENOSYS));
  EXPECT_EQ(verdict(SYS_keyctl), refusal(ENOSYS));
}

TEST_F(SeccompFilter, ForeignArchitecturesDie) {
  for (const std::uint32_t arch : {std::uint32_t{AUDIT_ARCH_I386}, std::uint32_t{AUDIT_ARCH_AARCH64}})
    EXPECT_NE(verdict(SYS_read, {}, arch) & SECCOMP_RET_ACTION_FULL, kAllow);
  EXPECT_NE(verdict(SYS_read | 0x40000000) & SECCOMP_RET_ACTION_FULL, kAllow);
}

// For every flag of a new namespace, alone and with any other bits.
TEST_F(SeccompFilter, NoNamespaceFlagPasses) {
  for (const std::uint64_t flag : {std::uint64_t{CLONE_NEWNS}, std::uint64_t{CLONE_NEWUTS}, std::uint64_t{CLONE_NEWIPC},
                                   std::uint64_t{CLONE_NEWUSER}, std::uint64_t{CLONE_NEWPID},
                                   std::uint64_t{CLONE_NEWNET}, std::uint64_t{CLONE_NEWCGROUP}})
    for (const std::uint64_t more : {0ull, 17ull, ~0ull, 0xFFFFFFFF00000000ull, 0x00050f00ull}) {
      EXPECT_EQ(verdict(SYS_clone, {flag | more}), refusal(EPERM)) << std::hex << (flag | more);
      EXPECT_EQ(verdict(SYS_unshare, {flag | more}), refusal(EPERM)) << std::hex << (flag | more);
    }
  EXPECT_EQ(verdict(SYS_clone, {0x003d0f00}), kAllow);  // a thread of the C library
  EXPECT_EQ(verdict(SYS_clone, {17}), kAllow);
  EXPECT_EQ(verdict(SYS_unshare, {0x80}), refusal(EPERM));
}

TEST_F(SeccompFilter, OfAllIoctlsOnlyTheTwoAreRefused) {
  for (const std::uint64_t high : {0ull, 1ull << 32, 0xdeadbeefull << 32}) {
    EXPECT_EQ(verdict(SYS_ioctl, {0, high | 0x5412}), refusal(EPERM));
    EXPECT_EQ(verdict(SYS_ioctl, {0, high | 0x541C}), refusal(EPERM));
  }
  for (std::uint64_t command = 0; command < 0x10000; ++command)
    if (command != 0x5412 && command != 0x541C) {
      ASSERT_EQ(verdict(SYS_ioctl, {0, command}), kAllow) << std::hex << command;
    }
  for (int bit = 0; bit < 32; ++bit) {
    ASSERT_EQ(verdict(SYS_ioctl, {0, 0x5412 ^ (1ull << bit)}), kAllow) << bit;
    ASSERT_EQ(verdict(SYS_ioctl, {0, 0x541C ^ (1ull << bit)}), kAllow) << bit;
  }
}

TEST_F(SeccompFilter, SocketFamiliesAreThoseNamed) {
  const std::set<int> allowed{AF_UNIX, AF_INET, AF_INET6};
  for (int family = 1; family < 64; ++family) {
    if (family == AF_NETLINK) continue;
    EXPECT_EQ(verdict(SYS_socket, {std::uint64_t(family), 1, 0}), allowed.contains(family) ? kAllow : refusal(EAFNOSUPPORT))
        << family;
  }
  for (std::uint64_t protocol = 0; protocol < 40; ++protocol)
    EXPECT_EQ(verdict(SYS_socket, {AF_NETLINK, 3, protocol}), protocol == 0 ? kAllow : refusal(EAFNOSUPPORT));
  EXPECT_EQ(verdict(SYS_socketpair, {AF_UNIX}), kAllow);
  EXPECT_EQ(verdict(SYS_socketpair, {AF_INET}), refusal(EAFNOSUPPORT));
}

TEST(SeccompCalls, NoneIsBothAllowedAndRefused) {
  std::set<std::string_view> names;
  for (const auto name : kAllowed) EXPECT_TRUE(names.insert(name).second) << name;
  for (const auto name : kRefused) EXPECT_TRUE(names.insert(name).second) << name;
}

}  // namespace
}  // namespace atl::isolation::oci
