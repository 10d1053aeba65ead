#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/crypto.h"
#include "base/fs.h"
#include "base/testing/needs.h"
#include "isolation/cgroup/files.h"
#include "isolation/cgroup/group.h"

namespace atl::isolation::cgroup {
namespace {

constexpr char kV1[] =
    "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n"
    "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
    "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime master:1 shared:2 - cgroup cgroup rw,memory\n"
    "37 31 0:34 / /sys/fs/cgroup/freezer rw,relatime - cgroup cgroup rw,freezer\n"
    "39 31 0:36 / /sys/fs/cgroup/with\\040blank rw,relatime - cgroup cgroup rw,pids\n"
    "40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd\n";
constexpr char kUnified[] = "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate\n";

TEST(Layout, V1) {
  const auto layout = parse_layout(kV1);
  ASSERT_TRUE(layout.ok()) << layout.error().message;
  EXPECT_EQ(layout->version, Version::v1);
  EXPECT_FALSE(layout->hybrid_unified);
  EXPECT_EQ(layout->v1.at("cpu"), "/sys/fs/cgroup/cpu,cpuacct");
  EXPECT_EQ(layout->v1.at("cpuacct"), "/sys/fs/cgroup/cpu,cpuacct");
  EXPECT_EQ(layout->v1.at("pids"), "/sys/fs/cgroup/with blank");
  EXPECT_FALSE(layout->v1.contains("name=systemd"));
}

TEST(Layout, Hybrid) {
  const auto layout = parse_layout(std::string(kV1) + kUnified);
  ASSERT_TRUE(layout.ok());
  EXPECT_EQ(layout->version, Version::v1);
  EXPECT_TRUE(layout->hybrid_unified);
  EXPECT_EQ(layout->unified, "/sys/fs/cgroup/unified");
}

TEST(Layout, V2) {
  const auto layout = parse_layout("30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n");
  ASSERT_TRUE(layout.ok());
  EXPECT_EQ(layout->version, Version::v2);
  EXPECT_EQ(layout->unified, "/sys/fs/cgroup");
}

TEST(Layout, WhatIsMissingIsNamed) {
  const std::string text = kV1;
  const auto layout = parse_layout(text.substr(0, text.find("37 31")));
  ASSERT_FALSE(layout.ok());
  EXPECT_EQ(layout.error().code, Errc::unsupported);
  EXPECT_NE(layout.error().message.find("pids, freezer"), std::string::npos) << layout.error().message;
  EXPECT_FALSE(parse_layout("").ok());
  EXPECT_FALSE(parse_layout("garbage - \n\n - - -\n").ok());
}

TEST(Layout, OwnGroup) {
  EXPECT_EQ(parse_own_v2_group("1:cpu:/\n0::/system.slice/atolld.service\n"), "/system.slice/atolld.service");
  EXPECT_EQ(parse_own_v2_group("1:cpu:/\n"), std::nullopt);
}

TEST(Layout, DecodesMountPaths) {
  EXPECT_EQ(decode_mount_path("/a\\040b\\134c"), "/a b\\c");
  EXPECT_EQ(decode_mount_path("/a\\04"), "/a\\04");
  EXPECT_EQ(decode_mount_path("\\999"), "\\999");
}

class Files : public ::testing::Test {
 protected:
  void SetUp() override {
    path = "/tmp/atoll-cgroup-" + random_id(8);
    ASSERT_TRUE(make_dirs(path, 0700).ok());
  }
  void TearDown() override { ASSERT_TRUE(remove_tree(path).ok()); }
  std::string put(const std::string& name, std::string_view text) {
    EXPECT_TRUE(write_file_atomic(path + "/" + name, text, 0600).ok());
    return path + "/" + name;
  }
  std::string path;
};

TEST_F(Files, NumbersAndFields) {
  EXPECT_EQ(*read_number(put("a", "4096\n")), 4096);
  EXPECT_EQ(*read_number(put("a", "max\n")), -1);
  EXPECT_FALSE(read_number(put("a", "12x\n")).ok());
  EXPECT_FALSE(read_number(put("a", "")).ok());
  const std::string events = put("b", "low 0\noom_kill 3\noom 1\n");
  EXPECT_EQ(*read_field(events, "oom_kill"), 3);
  EXPECT_EQ(*read_field(events, "oom"), 1);
  EXPECT_EQ(read_field(events, "high").error().code, Errc::not_found);
}

// v2's files as plain ones: what is written, and what is read back.
TEST_F(Files, V2CountersAndLimits) {
  for (const auto& [name, text] : std::vector<std::pair<std::string, std::string>>{
           {"cpu.stat", "usage_usec 77\nuser_usec 5\n"}, {"memory.current", "1000\n"}, {"memory.stat", "anon 1\nfile 12\n"},
           {"memory.events", "oom 2\noom_kill 1\n"}, {"pids.current", "4\n"}, {"pids.events", "max 9\n"},
           {"memory.max", "1048576\n"}, {"memory.swap.max", "0\n"}, {"cpu.max", "200000 100000\n"}, {"pids.max", "64\n"}})
    put(name, text);
  const Group group(Version::v2, {{"", path}});
  const auto counters = group.counters();
  ASSERT_TRUE(counters.ok()) << counters.error().message;
  EXPECT_EQ(counters->cpu_usec, 77);
  EXPECT_EQ(counters->memory_cache_bytes, 12);
  EXPECT_EQ(counters->oom_kills, 1);
  EXPECT_EQ(counters->pids_refused, 9);
  const auto in_force = group.in_force();
  ASSERT_TRUE(in_force.ok());
  EXPECT_EQ(in_force->memory_bytes, 1048576);
  EXPECT_EQ(in_force->swap_bytes, 0);
  EXPECT_EQ(in_force->cpus, 2.0);
  put("cpu.max", "max 100000\n");
  EXPECT_TRUE(std::isinf(group.in_force()->cpus));
}

TEST_F(Files, AV2HostWithoutTheControllersIsRefusedWithTheCure) {
  put("cgroup.controllers", "cpuset hugetlb\n");
  put("cgroup.subtree_control", "\n");
  Layout layout;
  layout.unified = path;
  const auto parent = Parent::open("x", layout, "/");
  ASSERT_FALSE(parent.ok());
  EXPECT_EQ(parent.error().code, Errc::unsupported);
  EXPECT_NE(parent.error().message.find("memory"), std::string::npos);
  EXPECT_NE(parent.error().message.find("Delegate=yes"), std::string::npos);
}

pid_t sleeper_in(const Group& group) {
  const auto fds = group.join_fds();
  EXPECT_TRUE(fds.ok());
  const pid_t pid = ::fork();
  if (pid != 0) return pid;
  for (const UniqueFd& fd : *fds)
    if (::write(fd.get(), "0", 1) != 1) ::_exit(1);
  for (int i = 0; i < 3; ++i)
    if (::fork() == 0) break;
  for (;;) ::pause();
}

void expect_killed(const Group& group, pid_t pid) {
  for (int i = 0; i < 1000 && group.processes().size() < 4; ++i) ::usleep(1000);
  EXPECT_EQ(group.processes().size(), 4u);
  const Status killed = group.kill_all(5000);
  EXPECT_TRUE(killed.ok()) << killed.error().message;
  int status = 0;
  EXPECT_EQ(::waitpid(pid, &status, 0), pid);
  EXPECT_TRUE(WIFSIGNALED(status));
  const Status removed = group.remove(5000);
  EXPECT_TRUE(removed.ok()) << removed.error().message;
  EXPECT_FALSE(group.exists());
  EXPECT_TRUE(group.remove(100).ok());
}

TEST(Group, MakesLimitsKillsAndRemovesOnThisHost) {
  NEEDS(root);
  const auto parent = Parent::open("test" + random_id(8));
  ASSERT_TRUE(parent.ok()) << parent.error().message;
  const Group group = parent->group("g1");
  Limits limits;
  limits.vcpus = 2;
  limits.memory_bytes = 100ll << 20;
  limits.pids = 20;
  const Status made = group.create(limits);
  ASSERT_TRUE(made.ok()) << made.error().message;
  EXPECT_EQ(parent->ids(), std::vector<std::string>{"g1"});
  EXPECT_EQ(group.in_force()->pids, 20);
  expect_killed(group, sleeper_in(group));
  EXPECT_EQ(parent->ids(), std::vector<std::string>{});
  parent->remove_if_empty();
}

// The hierarchy of version 2 that a hybrid host has beside, without controllers: groups and
// cgroup.kill work there.
TEST_F(Files, V2KillsAndRemoves) {
  NEEDS(root);
  const std::string at = path + "/v2";
  ASSERT_TRUE(make_dirs(at, 0700).ok());
  if (::mount("none", at.c_str(), "cgroup2", 0, nullptr) != 0) GTEST_SKIP() << "no cgroup2";
  const Group group(Version::v2, {{"", at + "/atoll-test-" + random_id(8)}});
  ASSERT_EQ(::mkdir(group.folders().at("").c_str(), 0755), 0);
  expect_killed(group, sleeper_in(group));
  ASSERT_EQ(::umount2(at.c_str(), 0), 0);
}

}  // namespace
}  // namespace atl::isolation::cgroup
