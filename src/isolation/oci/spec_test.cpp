#include "isolation/oci/spec.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>

#include "isolation/oci/verify.h"
#include "rootfs/user_namespace.h"

namespace atl::isolation::oci {
namespace {

Plan plan(Runtime runtime) {
  Plan plan;
  plan.runtime = runtime;
  plan.spec.id = "abc1";
  plan.spec.uid_base = 1'000'000'000;
  plan.spec.hostname = "box";
  plan.spec.channel_dir = "/var/lib/x/channel";
  plan.spec.agent_path = "/usr/lib/agent";
  plan.spec.log_path = "/var/lib/x/log";
  plan.root = "/run/x/root";
  plan.open_files_max = 20'000;
  plan.seccomp_bpf = "code";
  return plan;
}

TEST(OciSpec, CheckNamesTheFieldThatIsWrong) {
  const Spec good = plan(Runtime::crun).spec;
  EXPECT_TRUE(check(good).ok());
  const std::pair<const char*, std::function<void(Spec&)>> bad[] = {
      {"id", [](Spec& s) { s.id = "../x"; }},
      {"id", [](Spec& s) { s.id = ""; }},
      {"id", [](Spec& s) { s.id = std::string(65, 'a'); }},
      {"hostname", [](Spec& s) { s.hostname = "a b"; }},
      {"hostname", [](Spec& s) { s.hostname = "-x"; }},
      {"channel_dir", [](Spec& s) { s.channel_dir = "relative"; }},
      {"channel_dir", [](Spec& s) { s.agent_path = "/a\nb"; }},
      {"uid_base", [](Spec& s) { s.uid_base = 0; }},
      {"uid_base", [](Spec& s) { s.uid_base = 0xFFFF0000; }},
      {"vcpus", [](Spec& s) { s.limits.vcpus = 0; }},
      {"memory_bytes", [](Spec& s) { s.limits.memory_bytes = 1; }},
      {"pids", [](Spec& s) { s.limits.pids = -1; }},
      {"disk_bytes", [](Spec& s) { s.limits.disk_bytes = 1ll << 60; }},
      {"inodes", [](Spec& s) { s.limits.inodes = 0; }},
      {"boot config", [](Spec& s) { s.boot_config = std::string((1 << 20) + 1, 'x'); }}};
  for (const auto& [field, spoil] : bad) {
    Spec spec = good;
    spoil(spec);
    const Status status = check(spec);
    ASSERT_FALSE(status.ok()) << field;
    EXPECT_EQ(status.error().message.rfind(field, 0), 0u) << status.error().message;
  }
}

// Of each type's namespace, the path that it is joined by: "" = a new one.
std::map<std::string, std::string> namespaces_of(const json::object& config) {
  std::map<std::string, std::string> out;
  for (const json::value& ns : config.at("linux").at("namespaces").as_array()) {
    const json::value* path = ns.as_object().if_contains("path");
    out[ns.at("type").as_string().c_str()] = path ? path->as_string().c_str() : "";
  }
  return out;
}

using Namespaces = std::map<std::string, std::string>;

TEST(OciSpec, AllNamespacesAreNewAndTheUsersAreMadeAhead) {
  Plan made = plan(Runtime::crun);
  made.user_namespace = 7;
  const json::object config = make_config(made);
  EXPECT_EQ(namespaces_of(config),
            (Namespaces{{"user", "/proc/self/fd/7"}, {"mount", ""}, {"pid", ""}, {"ipc", ""}, {"uts", ""}, {"network", ""}, {"cgroup", ""}}));
  EXPECT_FALSE(config.at("linux").as_object().contains("uidMappings"));
}

TEST(OciSpec, RunscMakesItsUsersOfTheSandboxsRange) {
  const json::object config = make_config(plan(Runtime::runsc));
  EXPECT_EQ(namespaces_of(config),
            (Namespaces{{"user", ""}, {"mount", ""}, {"pid", ""}, {"ipc", ""}, {"uts", ""}, {"network", ""}, {"cgroup", ""}}));
  for (const char* key : {"uidMappings", "gidMappings"}) {
    const json::array& map = config.at("linux").at(key).as_array();
    ASSERT_EQ(map.size(), 1u);
    EXPECT_EQ(map[0].at("containerID").to_number<int>(), 0);
    EXPECT_EQ(map[0].at("hostID").to_number<std::int64_t>(), 1'000'000'000);
    EXPECT_EQ(map[0].at("size").to_number<int>(), 65536);
  }
}

TEST(OciSpec, EveryHostFolderIsReadOnlyAndWithoutSetuidAndDevices) {
  for (const Runtime runtime : {Runtime::crun, Runtime::runsc}) {
    const json::object config = make_config(plan(runtime));
    int binds = 0;
    for (const json::value& mount : config.at("mounts").as_array()) {
      std::set<std::string> options;
      for (const json::value& option : mount.at("options").as_array()) options.insert(option.as_string().c_str());
      EXPECT_TRUE(options.contains("nosuid"));
      EXPECT_NE(mount.at("type").as_string(), "cgroup");
      if (!options.contains("bind")) continue;
      ++binds;
      EXPECT_TRUE(options.contains("ro") && options.contains("nodev"));
    }
    EXPECT_GE(binds, 2);
    EXPECT_FALSE(config.contains("hooks"));
  }
}

TEST(OciSpec, NoHostSysfsOnTheContainerTier) {
  const json::object config = make_config(plan(Runtime::crun));
  for (const json::value& mount : config.at("mounts").as_array()) EXPECT_NE(mount.at("type").as_string(), "sysfs");
  // Without the annotation nothing may run.
  EXPECT_EQ(config.at("linux").at("seccomp"), (json::object{{"defaultAction", "SCMP_ACT_ERRNO"}}));
  EXPECT_FALSE(make_config(plan(Runtime::runsc)).at("linux").as_object().contains("seccomp"));
}

TEST(OciSpec, ProcessOneIsTheAgentWithTheBoundedCapabilitiesAndLimits) {
  const json::object config = make_config(plan(Runtime::crun));
  const json::object& process = config.at("process").as_object();
  EXPECT_EQ(process.at("args"), (json::array{"/run/atoll-agent"}));
  EXPECT_FALSE(process.at("noNewPrivileges").as_bool());
  EXPECT_EQ(process.at("rlimits").at(0).at("hard").to_number<int>(), 20'000);
  const json::object& capabilities = process.at("capabilities").as_object();
  EXPECT_FALSE(capabilities.contains("ambient"));
  EXPECT_FALSE(capabilities.contains("inheritable"));
  for (const json::value& capability : capabilities.at("bounding").as_array())
    for (const char* never : {"CAP_SYS_ADMIN", "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_SYS_PTRACE", "CAP_MKNOD"})
      EXPECT_NE(capability.as_string(), never);
  EXPECT_EQ(std::popcount(capability_mask()), static_cast<int>(std::size(kCapabilities)));
}

TEST(OciSpec, NothingSecretIsInTheConfig) {
  Plan secret = plan(Runtime::crun);
  secret.spec.boot_config = R"({"bootToken":"s3cr3t"})";
  EXPECT_EQ(json::serialize(make_config(secret)).find("s3cr3t"), std::string::npos);
}

TEST(Confinement, ReadsTheKernelsWords) {
  const auto found = parse_confinement(
      "Name:\tx Seccomp:\t0\nCapEff:\t00000000800405fb\nCapBnd:\t00000000800405fb\nNoNewPrivs:\t0\n"
      "Seccomp:\t2\nSeccomp_filters:\t1\n");
  ASSERT_TRUE(found.ok()) << found.error().message;
  EXPECT_EQ(found->seccomp_mode, 2);
  EXPECT_EQ(found->seccomp_filters, 1);
  EXPECT_EQ(found->bounding, 0x800405fbu);
  EXPECT_EQ(found->bounding, capability_mask());
  EXPECT_FALSE(found->no_new_privs);
}

TEST(Confinement, WhatTheKernelDoesNotSayIsAFailure) {
  EXPECT_FALSE(parse_confinement("").ok());
  EXPECT_FALSE(parse_confinement("Seccomp:\t2\nSeccomp_filters:\tx\n").ok());
  EXPECT_FALSE(parse_confinement("Seccomp:\t2\nCapBnd:\t0\nCapEff:\t0\nNoNewPrivs:\t0\n").ok());
}

// The owner that verify_owner finds for a child that ran `enter`; it asks for `asked`.
Status owner_seen(const std::function<int()>& enter, uid_t asked) {
  int ready[2];
  EXPECT_EQ(::pipe(ready), 0);
  const pid_t pid = ::fork();
  if (pid == 0) {
    const char entered = enter() == 0 ? 'y' : 'n';
    [[maybe_unused]] const ssize_t n = ::write(ready[1], &entered, 1);
    for (;;) ::pause();
  }
  char entered = 0;
  EXPECT_EQ(::read(ready[0], &entered, 1), 1);
  EXPECT_EQ(entered, 'y');
  Status seen = verify_owner("/proc/" + std::to_string(pid), asked);
  ::kill(pid, SIGKILL);
  ::waitpid(pid, nullptr, 0);
  for (const int fd : ready) ::close(fd);
  return seen;
}

TEST(Owner, IsWhoMadeTheNamespace) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  constexpr std::uint32_t kFirst = 3'700'000'000;
  const auto users = rootfs::make_user_namespace(kFirst, 65536);
  ASSERT_TRUE(users.ok()) << users.error().message;
  const auto join = [&] { return ::setns(users->get(), CLONE_NEWUSER); };
  EXPECT_TRUE(owner_seen(join, kFirst).ok());
  EXPECT_FALSE(owner_seen(join, kFirst + 65536).ok());
  const Status by_root = owner_seen([] { return ::unshare(CLONE_NEWUSER); }, kFirst);
  ASSERT_FALSE(by_root.ok());
  EXPECT_NE(by_root.error().message.find("belongs to user 0"), std::string::npos) << by_root.error().message;
}

}  // namespace
}  // namespace atl::isolation::oci
