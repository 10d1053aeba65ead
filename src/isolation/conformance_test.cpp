#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fs.h"
#include "isolation/testing/sandbox_fixture.h"

// One list of promises (driver.h), kept by every driver.
namespace atl::isolation {
namespace {

using testing::Kind;
using testing::World;

const std::vector<std::string> kNothing;

class Conformance : public ::testing::TestWithParam<Kind> {
 protected:
  void SetUp() override {
    if (auto gone = World::missing(GetParam())) {
      if (std::getenv("STRICT")) FAIL() << "needs " << *gone;
      GTEST_SKIP() << "needs " << *gone;
    }
    world.emplace(GetParam());
  }
  bool isolates() const { return GetParam() != Kind::fake; }
  bool machine() const { return GetParam() == Kind::microvm; }
  // Starts it and waits for process 1's preface.
  Started up(const std::string& id) {
    auto started = world->start(world->spec(id));
    EXPECT_TRUE(started.ok()) << started.error().message;
    if (!started.ok()) return {};
    EXPECT_EQ(world->channel(id).accept_preface().size(), 64u);
    return std::move(started).value();
  }
  std::string ask(const std::string& id, const std::string& line) { return world->channel(id).ask(line); }

  std::optional<World> world;
};

TEST_P(Conformance, ProcessOneGetsItsConfigAndAnswersOnItsChannel) {
  Spec spec = world->spec("a1");
  const std::string token = parse_json(spec.boot_config)->at("bootToken").as_string().c_str();
  const auto started = world->start(spec);
  ASSERT_TRUE(started.ok()) << started.error().message;
  EXPECT_EQ(world->channel("a1").accept_preface(), token);
  EXPECT_TRUE(is_alive(started->init));
  const auto log = read_file(spec.log_path, 4096);
  ASSERT_TRUE(log.ok());
  // The console of a machine's kernel may have said something before.
  const std::string agents = "{\"msg\":\"test agent\"}\n";
  if (machine()) EXPECT_TRUE(log->ends_with(agents)) << *log;
  else EXPECT_EQ(*log, agents);
  // time(): the host's.
  EXPECT_NEAR(std::atof(ask("a1", "syscall 201 0 0 0 0 0 0").c_str()), static_cast<double>(::time(nullptr)), 2);
}

TEST_P(Conformance, TheReceiptSaysWhatItIs) {
  const json::object receipt = up("a1").receipt.fields;
  for (const char* key : {"tier", "driver", "runtime", "runtimeVersion", "kernel", "namespaces", "uidRange",
                          "seccompSha256", "capabilities", "mounts", "limits", "hostMitigations", "posture"})
    EXPECT_TRUE(receipt.contains(key)) << key;
  EXPECT_EQ(receipt.at("driver").as_string(), !isolates() ? "fake" : machine() ? "vm" : "oci");
  if (!isolates()) {
    EXPECT_TRUE(receipt.at("limits").is_null());
    return;
  }
  EXPECT_EQ(receipt.at("limits").at("memoryBytes").to_number<std::int64_t>(), world->spec("a1").limits.memory_bytes);
  EXPECT_GE(receipt.at("namespaces").as_object().size(), 6u);
}

TEST_P(Conformance, TheRootIsTheTemplatesLayersWithItsOwnName) {
  if (!isolates()) GTEST_SKIP() << "the fake driver has the host's root";
  up("a1");
  EXPECT_EQ(ask("a1", "read /etc-mark"), "upper layer\n");
  EXPECT_EQ(ask("a1", "read /etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n");
  EXPECT_EQ(ask("a1", "read /etc/hostname"), "box-a1\n");
  EXPECT_EQ(ask("a1", "read /proc/sys/kernel/hostname"), "box-a1\n");
  EXPECT_EQ(ask("a1", "write /new 1"), "1 written 0");
  EXPECT_FALSE(exists(world->dir() + "/layers/upper/new"));
  EXPECT_FALSE(exists(world->dir() + "/layers/lower/run/atoll-agent"));
}

TEST_P(Conformance, DestroyLeavesNothingAndMayBeRepeated) {
  const Started started = up("a1");
  EXPECT_NE(world->traces_of("a1"), kNothing);
  EXPECT_EQ(ask("a1", "fork 5"), "5 started 0");
  const Status gone = world->destroy("a1");
  EXPECT_TRUE(gone.ok()) << gone.error().message;
  EXPECT_FALSE(is_alive(started.init));
  EXPECT_EQ(world->traces_of("a1"), kNothing);
  EXPECT_TRUE(world->destroy("a1").ok());
  EXPECT_EQ(world->wait(world->driver().leftovers()), kNothing);
}

TEST_P(Conformance, DestroyOfAnUnknownIdIsFine) {
  EXPECT_TRUE(world->destroy("neverseen").ok());
  EXPECT_EQ(world->wait(world->driver().usage("neverseen")).error().code, Errc::not_found);
}

TEST_P(Conformance, AnIdIsUsedAgainAfterItsEnd) {
  for (int round = 0; round < 2; ++round) {
    up("a1");
    EXPECT_TRUE(world->destroy("a1").ok());
  }
}

TEST_P(Conformance, AFailedStartLeavesNothing) {
  Spec no_template = world->spec("a1");
  no_template.template_dir += "missing";
  EXPECT_EQ(world->start(no_template).error().code, Errc::not_found);
  EXPECT_EQ(world->traces_of("a1"), kNothing);

  Spec no_agent = world->spec("a2");
  no_agent.agent_path = "/nonexistent/agent";
  const auto failed = world->start(no_agent);
  ASSERT_FALSE(failed.ok());
  EXPECT_NE(failed.error().message.find("/nonexistent/agent"), std::string::npos) << failed.error().message;
  EXPECT_EQ(world->traces_of("a2"), kNothing);
  EXPECT_EQ(world->wait(world->driver().leftovers()), kNothing);
}

TEST_P(Conformance, ASecondStartOfALiveIdIsRefusedAndHarmsNothing) {
  const Started started = up("a1");
  Spec again = world->spec("a1");
  EXPECT_EQ(world->start(again).error().code, Errc::exists);
  EXPECT_TRUE(is_alive(started.init));
}

TEST_P(Conformance, AdoptAfterTheNodesRestart) {
  const Spec spec = world->spec("a1");
  const Started started = up("a1");
  world->restart_driver();
  EXPECT_EQ(world->wait(world->driver().leftovers()), std::vector<std::string>{"a1"});
  const auto adopted = world->wait(world->driver().adopt(spec, started.init));
  ASSERT_TRUE(adopted.ok()) << adopted.error().message;
  EXPECT_EQ(adopted->init, started.init);
  EXPECT_EQ(adopted->receipt.fields, started.receipt.fields);
  const auto usage = world->wait(world->driver().usage("a1"));
  ASSERT_TRUE(usage.ok()) << usage.error().message;
  EXPECT_GT(usage->pids, 0);
  EXPECT_TRUE(world->destroy("a1").ok());
  EXPECT_EQ(world->traces_of("a1"), kNothing);
}

TEST_P(Conformance, AdoptRefusesWhatIsNotWhole) {
  const Spec spec = world->spec("a1");
  const Started started = up("a1");
  world->restart_driver();
  ProcessId another = started.init;
  another.start_time += 1;
  EXPECT_EQ(world->wait(world->driver().adopt(spec, another)).error().code, Errc::not_found);
  EXPECT_EQ(world->wait(world->driver().adopt(world->spec("b2"), started.init)).error().code, Errc::not_found);
  EXPECT_TRUE(world->destroy("a1").ok());
  EXPECT_EQ(world->traces_of("a1"), kNothing);
  EXPECT_EQ(world->wait(world->driver().adopt(spec, started.init)).error().code, Errc::not_found);
}

TEST_P(Conformance, UsageCounts) {
  up("a1");
  ask("a1", "fork 3");
  const auto usage = world->wait(world->driver().usage("a1"));
  ASSERT_TRUE(usage.ok()) << usage.error().message;
  if (!machine()) EXPECT_GE(usage->pids, 4);  // a VMM's threads are counted, not what runs inside
  EXPECT_GT(usage->memory_bytes, 0);
  if (!isolates()) return;
  EXPECT_GT(usage->cpu_usec, 0);
  EXPECT_EQ(usage->memory_limit_bytes, world->spec("a1").limits.memory_bytes);
  EXPECT_GT(usage->disk_total_bytes, usage->disk_used_bytes);
  const auto before = usage->disk_used_bytes;
  EXPECT_EQ(ask("a1", "write /big 8"), "8 written 0");
  ask("a1", "syscall 162 0 0 0 0 0 0");  // sync: a guest's kernel writes later
  EXPECT_GE(world->wait(world->driver().usage("a1"))->disk_used_bytes, before + (4 << 20));
}

TEST_P(Conformance, TheDiskIsBounded) {
  if (!isolates()) GTEST_SKIP() << "the fake driver has no limits";
  up("a1");
  const std::string wrote = ask("a1", "write /big 500");  // the disk has 64 MiB
  EXPECT_NE(wrote.find(" written 28"), std::string::npos) << wrote;
  EXPECT_LT(std::atoi(wrote.c_str()), 64);
  up("a2");
  EXPECT_EQ(ask("a2", "write /tmp/small 1"), "1 written 0");  // one's full disk is not another's
}

TEST_P(Conformance, InodesAreBounded) {
  if (!isolates()) GTEST_SKIP() << "the fake driver has no limits";
  up("a1");
  const std::string made = ask("a1", "create /tmp/f 20000");  // the disk has 4096
  EXPECT_NE(made.find(" made 28"), std::string::npos) << made;
  EXPECT_LT(std::atoi(made.c_str()), 4096);
}

TEST_P(Conformance, MemoryBeyondTheLimitEndsTheSandboxsOwnAlone) {
  if (!isolates()) GTEST_SKIP() << "the fake driver has no limits";
  const Started first = up("a1"), second = up("a2");
  const std::string end = ask("a1", "eat 2000");
  if (GetParam() == Kind::container) {
    EXPECT_EQ(end, "signal 9");
    EXPECT_TRUE(is_alive(first.init));
    EXPECT_GE(world->wait(world->driver().usage("a1"))->oom_kills, 1);
  } else {
    EXPECT_NE(end, "eaten");
  }
  EXPECT_TRUE(is_alive(second.init));
  EXPECT_EQ(ask("a2", "read /etc-mark"), "upper layer\n");
}

TEST_P(Conformance, AForkBombStaysWithin) {
  if (!isolates()) GTEST_SKIP() << "the fake driver has no limits";
  up("a1");
  const Started second = up("a2");
  const std::string forked = ask("a1", "fork 3000");
  if (GetParam() == Kind::container) {
    EXPECT_NE(forked.find(" started 11"), std::string::npos) << forked;
    const auto usage = world->wait(world->driver().usage("a1"));
    ASSERT_TRUE(usage.ok());
    EXPECT_GE(usage->pids_refused, 1);
    EXPECT_LE(usage->pids, world->spec("a1").limits.pids);
  } else {
    EXPECT_NE(forked, "3000 started 0");
  }
  EXPECT_EQ(ask("a2", "fork 3"), "3 started 0");
  EXPECT_TRUE(is_alive(second.init));
  EXPECT_TRUE(world->destroy("a1").ok());
  EXPECT_EQ(world->traces_of("a1"), kNothing);
}

TEST_P(Conformance, SandboxesDoNotSeeEachOthersProcesses) {
  if (!isolates()) GTEST_SKIP() << "the fake driver has the host's processes";
  up("a1");
  up("a2");
  ask("a1", "fork 3");
  const std::string seen = ask("a2", "list /proc");
  // A machine has its own kernel's threads under these numbers.
  for (const char* pid : {" 2 ", " 3 ", " 4 "})
    if (!machine()) EXPECT_EQ(seen.find(pid), std::string::npos) << seen;
  EXPECT_NE(seen.find(" 1 "), std::string::npos) << seen;
  // kill(-1): all that it can reach.
  ask("a2", "syscall 62 -1 9 0 0 0 0");
  EXPECT_EQ(ask("a1", "read /etc-mark"), "upper layer\n");
}

TEST_P(Conformance, LoopbackIsUpAndThereIsNoWayOut) {
  if (!isolates()) GTEST_SKIP() << "the fake driver has the host's network";
  up("a1");
  const std::string interfaces = ask("a1", "read /proc/net/dev");
  EXPECT_NE(interfaces.find("lo:"), std::string::npos);
  for (const char* other : {"eth", "veth", "ens", "enp"}) EXPECT_EQ(interfaces.find(other), std::string::npos);
}

TEST_P(Conformance, TheProbeStartsARealSandboxAndLeavesNothing) {
  const Probe probe = world->wait(world->driver().probe());
  EXPECT_TRUE(probe.works) << probe.reason;
  EXPECT_FALSE(probe.runtime.empty());
  EXPECT_EQ(world->wait(world->driver().leftovers()), kNothing);
}

// Run in a process of its own by the test below, which kills it.
TEST(CrashVictim, StartsASandbox) {
  const char* instance = std::getenv("ATOLL_TEST_INSTANCE");
  if (!instance) GTEST_SKIP() << "only as the victim of AKillOfTheNodeAtAnyStep";
  const Kind kind = static_cast<Kind>(std::atoi(std::getenv("ATOLL_TEST_KIND")));
  ASSERT_FALSE(World::missing(kind));
  World world(kind, instance);
  Spec spec = world.spec("victim");
  [[maybe_unused]] const auto started = world.start(spec);
  ::pause();
}

pid_t start_victim(Kind kind, const std::string& instance) {
  const pid_t pid = ::fork();
  if (pid != 0) return pid;
  ::setenv("ATOLL_TEST_INSTANCE", instance.c_str(), 1);
  ::setenv("ATOLL_TEST_KIND", std::to_string(static_cast<int>(kind)).c_str(), 1);
  ::execl("/proc/self/exe", "isolation_test", "--gtest_filter=CrashVictim.*", "--gtest_brief=1", nullptr);
  ::_exit(127);
}

// The end of the wait is the point of the test: the victim may be anywhere in its start.
TEST_P(Conformance, AKillOfTheNodeAtAnyStepLeavesNothingAfterDestroy) {
  const int last_ms = GetParam() == Kind::gvisor ? 200 : machine() ? 600 : 60;
  for (int after_ms = 4; after_ms <= last_ms; after_ms += last_ms / 12) {
    const pid_t victim = start_victim(GetParam(), world->instance());
    ASSERT_GT(victim, 0);
    ::usleep(after_ms * 1000);
    ::kill(victim, SIGKILL);
    ::waitpid(victim, nullptr, 0);
    ::unlink((world->dir() + "/node/sandboxes/victim/channel/channel.sock").c_str());
    world->restart_driver();
    const Status gone = world->destroy("victim");
    EXPECT_TRUE(gone.ok()) << after_ms << " ms: " << gone.error().message;
    EXPECT_EQ(world->traces_of("victim"), kNothing) << after_ms << " ms";
    EXPECT_EQ(world->wait(world->driver().leftovers()), kNothing) << after_ms << " ms";
  }
}

INSTANTIATE_TEST_SUITE_P(Drivers, Conformance, ::testing::Values(Kind::fake, Kind::container, Kind::gvisor, Kind::microvm),
                         [](const auto& info) { return testing::name(info.param); });

}  // namespace
}  // namespace atl::isolation
