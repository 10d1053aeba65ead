#include "node/node.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <future>

#include "node/testing/rig.h"

namespace atl::node {
namespace {

using namespace testing;
using namespace std::chrono_literals;

struct NodeTest : ::testing::Test {
  Place place;
  Host host;
  FakeClock clock;
  NodeTest() { clock.wall_now = from_unix_millis(1'700'000'000'000); }
  std::int64_t now() const { return unix_millis(clock.wall()); }
  bool has_folder(const std::string& id) const { return exists(place.config.paths.sandbox_dir(id)); }
};

TEST_F(NodeTest, CreateRunsAndTheSameIdIsTheSameSandbox) {
  NodeLife life(place, host, clock);
  ASSERT_TRUE(life.begin().ok());
  const auto made = life.run(life.node.create(NodeLife::spec("a1")));
  ASSERT_TRUE(made.ok()) << made.error().message;
  EXPECT_EQ(made->state, State::running);
  EXPECT_EQ(made->end_ms, now() + 60'000);
  EXPECT_EQ(made->template_id, "t1");
  EXPECT_EQ(made->limits.memory_bytes, 64 << 20);
  EXPECT_EQ(made->boot_token.size(), 64u);
  const auto again = life.run(life.node.create(NodeLife::spec("a1")));
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->boot_token, made->boot_token);
  EXPECT_EQ(host.starts, 1);
}

TEST_F(NodeTest, BadRequestsAreRefusedBeforeTheDriverHears) {
  NodeLife life(place, host, clock);
  ASSERT_TRUE(life.begin().ok());
  for (const char* id : {"", "../x", "A", "a-b", "a/b"}) {
    const auto made = life.run(life.node.create(NodeLife::spec(id)));
    ASSERT_FALSE(made.ok()) << id;
    EXPECT_EQ(made.error().code, Errc::invalid) << id;
  }
  auto spec = NodeLife::spec("a");
  spec.template_name = "../base";
  EXPECT_EQ(life.run(life.node.create(spec)).error().code, Errc::invalid);
  spec.template_name = "absent";
  EXPECT_EQ(life.run(life.node.create(spec)).error().code, Errc::not_found);
  EXPECT_EQ(host.starts, 0);
  EXPECT_TRUE(life.node.list().empty());
}

TEST_F(NodeTest, AutoIsTheStrongestThatWorksAndANamedTierNeverFallsBack) {
  NodeLife life(place, host, clock);
  ASSERT_TRUE(life.begin().ok());
  auto spec = NodeLife::spec("a");
  spec.tier = "auto";
  EXPECT_EQ(life.run(life.node.create(spec))->tier, isolation::Tier::container);
  spec = NodeLife::spec("b");
  spec.tier = "gvisor";
  const auto refused = life.run(life.node.create(spec));
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Errc::unsupported);
  EXPECT_NE(refused.error().message.find("no runsc here"), std::string::npos);
  spec.tier = "microvm";
  EXPECT_EQ(life.run(life.node.create(spec)).error().code, Errc::unsupported);
  spec.tier = "bare";
  EXPECT_EQ(life.run(life.node.create(spec)).error().code, Errc::invalid);
}

TEST_F(NodeTest, AFailedStartLeavesNothing) {
  NodeLife life(place, host, clock);
  ASSERT_TRUE(life.begin().ok());
  host.refuse_start = true;
  const auto made = life.run(life.node.create(NodeLife::spec("a")));
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.error().message, "the runtime said no");
  EXPECT_TRUE(host.traces.empty());
  EXPECT_FALSE(has_folder("a"));
  EXPECT_TRUE(life.node.list().empty());
}

TEST_F(NodeTest, TimeLimitsAreTheNodesOwn) {
  NodeLife life(place, host, clock);
  ASSERT_TRUE(life.begin().ok());
  ASSERT_TRUE(life.run(life.node.create(NodeLife::spec("a"))).ok());
  clock.advance(59s);
  life.node.tick();
  life.settle();
  EXPECT_EQ(life.node.find("a")->state, State::running);
  ASSERT_TRUE(life.run(life.node.set_end("a", now() + 10'000, false)).ok());
  // Only extending: an earlier end is left as it is.
  EXPECT_EQ(life.run(life.node.set_end("a", now() + 1, true))->end_ms, now() + 10'000);
  clock.advance(10s);
  life.node.tick();
  ASSERT_TRUE(life.until([&] { return life.node.find("a")->state == State::ended; }));
  EXPECT_EQ(life.node.find("a")->end_reason, "timeout");
  EXPECT_TRUE(host.traces.empty());
  EXPECT_EQ(life.run(life.node.set_end("a", now() + 1000, false)).error().code, Errc::not_found);
  EXPECT_EQ(life.run(life.node.create(NodeLife::spec("a"))).error().code, Errc::conflict);
}

TEST_F(NodeTest, EndedSandboxesAreRememberedForAWhileWithoutTheirTokens) {
  NodeLife life(place, host, clock);
  ASSERT_TRUE(life.begin().ok());
  ASSERT_TRUE(life.run(life.node.create(NodeLife::spec("a"))).ok());
  ASSERT_TRUE(life.run(life.node.destroy("a", "killed")).ok());
  ASSERT_TRUE(life.run(life.node.destroy_wholly("a", "killed")).ok());
  EXPECT_EQ(life.node.find("a")->end_reason, "killed");
  EXPECT_TRUE(life.run(life.node.logs("a", 0)).ok());
  const auto journal = read_file(place.config.paths.sandbox_dir("a") + "/journal.json", 1 << 20);
  EXPECT_EQ(journal->find("token-of-a"), std::string::npos);
  clock.advance(Node::kRemember + 1s);
  life.node.tick();
  ASSERT_TRUE(life.until([&] { return !has_folder("a"); }));
  EXPECT_EQ(life.node.find("a"), nullptr);
}

TEST_F(NodeTest, ARemovalThatFailedIsRepeatedAndItsIdsStayInUse) {
  NodeLife life(place, host, clock);
  ASSERT_TRUE(life.begin().ok());
  const auto made = life.run(life.node.create(NodeLife::spec("a")));
  host.refuse_destroy = true;
  ASSERT_TRUE(life.run(life.node.destroy("a", "killed")).ok());
  EXPECT_FALSE(host.running.contains("a"));
  ASSERT_TRUE(life.until([&] { return host.destroys == 1; }));
  life.settle();
  EXPECT_EQ(life.node.find("a")->state, State::ending);
  EXPECT_TRUE(life.run(life.node.destroy("a", "again")).ok()) << "it is dead";
  const auto other = life.run(life.node.create(NodeLife::spec("b")));
  EXPECT_NE(other->uid_base, made->uid_base);
  EXPECT_EQ(host.destroys, 1);
  host.refuse_destroy = false;
  clock.advance(6s);
  life.node.tick();
  ASSERT_TRUE(life.until([&] { return life.node.find("a")->state == State::ended; }));
  EXPECT_EQ(life.node.find("a")->end_reason, "killed");
}

TEST_F(NodeTest, EventsBeginWithWhatChangesLater) {
  NodeLife life(place, host, clock);
  ASSERT_TRUE(life.begin().ok());
  const auto reader = life.node.subscribe();
  ASSERT_TRUE(life.run(life.node.create(NodeLife::spec("a"))).ok());
  ASSERT_TRUE(life.run(life.node.destroy_wholly("a", "killed")).ok());
  std::vector<State> seen;
  for (const Record& r : reader->queue) seen.push_back(r.state);
  EXPECT_EQ(seen, (std::vector<State>{State::running, State::ending, State::ended}));
}

TEST_F(NodeTest, UsageHasAPercentageOfOneCpu) {
  NodeLife life(place, host, clock);
  ASSERT_TRUE(life.begin().ok());
  ASSERT_TRUE(life.run(life.node.create(NodeLife::spec("a"))).ok());
  auto sample = [&] {
    return life.run([](Node& node) -> Task<bool> {
      co_await node.sample_all();
      co_return true;
    }(life.node));
  };
  ASSERT_TRUE(life.until([&] { return life.node.usage("a")->samples().size() == 1; })) << "right after the start";
  host.usage.cpu_usec = 1'000'000;
  clock.advance(5s);
  sample();
  clock.advance(5s);
  host.usage.cpu_usec += 7'500'000;
  host.usage.oom_kills = 3;
  sample();
  const auto& samples = life.node.usage("a")->samples();
  ASSERT_EQ(samples.size(), 3u);
  EXPECT_DOUBLE_EQ(samples[2].cpu_used_pct, 150.0);
  EXPECT_EQ(life.node.find("a")->oom_kills, 3);
}

TEST_F(NodeTest, AKillThatIsRefusedIsAnErrorAndTriedAgain) {
  NodeLife life(place, host, clock);
  ASSERT_TRUE(life.begin().ok());
  ASSERT_TRUE(life.run(life.node.create(NodeLife::spec("a"))).ok());
  host.refuse_kill = true;
  const auto refused = life.run(life.node.destroy("a", "killed"));
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().message, "a process outlives SIGKILL");
  EXPECT_EQ(life.node.find("a")->state, State::ending);
  EXPECT_EQ(host.destroys, 0);
  host.refuse_kill = false;
  clock.advance(6s);
  life.node.tick();
  ASSERT_TRUE(life.until([&] { return life.node.find("a")->state == State::ended; }));
  EXPECT_EQ(life.node.find("a")->end_reason, "killed");
  EXPECT_TRUE(host.traces.empty());
}

TEST_F(NodeTest, AKillThatGotNoTurnIsTriedAgain) {
  NodeLife life(place, host, clock);
  ASSERT_TRUE(life.begin().ok());
  ASSERT_TRUE(life.run(life.node.create(NodeLife::spec("a"))).ok());
  life.settle();
  // Both of the pool's threads are busy, so that a first change has the turn and as many wait as may.
  std::promise<void> go_on;
  const std::shared_future<void> gate = go_on.get_future().share();
  for (int i = 0; i < 2; ++i) asio::post(life.pool, [gate] { gate.wait(); });
  int changed = 0;
  for (std::size_t i = 0; i <= AsyncLock::kWaitersMax; ++i)
    spawn(life.io.get_executor(), "change", [](Node& node, std::int64_t end_ms, int& changed) -> Task<void> {
      if ((co_await node.set_end("a", end_ms, false)).ok()) ++changed;
    }(life.node, now() + 60'000, changed));
  life.settle();
  const auto refused = life.run(life.node.destroy("a", "killed"));
  go_on.set_value();
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Errc::exhausted);
  ASSERT_TRUE(life.until([&] { return changed == static_cast<int>(AsyncLock::kWaitersMax) + 1; }));
  EXPECT_EQ(life.node.find("a")->state, State::running);
  clock.advance(6s);
  life.node.tick();
  ASSERT_TRUE(life.until([&] { return life.node.find("a")->state == State::ended; }));
  EXPECT_EQ(life.node.find("a")->end_reason, "killed");
}

TEST_F(NodeTest, AJournalThatCannotBeWrittenKeepsNothingAlive) {
  NodeLife life(place, host, clock);
  ASSERT_TRUE(life.begin().ok());
  ASSERT_TRUE(life.run(life.node.create(NodeLife::spec("a"))).ok());
  // Nothing is renamed over a folder, whoever asks.
  const std::string journal = place.config.paths.sandbox_dir("a") + "/journal.json";
  ASSERT_EQ(::unlink(journal.c_str()), 0);
  ASSERT_TRUE(make_dirs(journal, 0700).ok());
  ASSERT_TRUE(life.run(life.node.destroy("a", "killed")).ok());
  EXPECT_FALSE(host.running.contains("a"));
  ASSERT_TRUE(life.until([&] { return host.traces.empty(); }));
  life.settle();
  EXPECT_EQ(life.node.find("a")->state, State::ending) << "its journal does not say yet that it ended";
  ASSERT_EQ(::rmdir(journal.c_str()), 0);
  clock.advance(6s);
  life.node.tick();
  ASSERT_TRUE(life.until([&] { return life.node.find("a")->state == State::ended; }));
  EXPECT_EQ(load_record(place.config.paths, "a")->state, State::ended);
}

TEST_F(NodeTest, DestroyAnswersBeforeTheTidyingAndTheIdsWaitForIt) {
  place.config.uid_ranges = Node::kProbeRanges + 1;
  NodeLife life(place, host, clock);
  ASSERT_TRUE(life.begin().ok());
  ASSERT_TRUE(life.run(life.node.create(NodeLife::spec("a"))).ok());
  host.refuse_destroy = true;
  ASSERT_TRUE(life.run(life.node.destroy("a", "killed")).ok());
  EXPECT_EQ(life.node.find("a")->state, State::ending);
  EXPECT_EQ(life.run(life.node.create(NodeLife::spec("b"))).error().code, Errc::exhausted);
  host.refuse_destroy = false;
  ASSERT_TRUE(life.run(life.node.destroy_wholly("a", "killed")).ok());
  EXPECT_EQ(life.node.find("a")->state, State::ended);
  EXPECT_TRUE(life.run(life.node.create(NodeLife::spec("b"))).ok());
}

TEST_F(NodeTest, TheEndOfAllIsWhole) {
  NodeLife life(place, host, clock);
  ASSERT_TRUE(life.begin().ok());
  for (const char* id : {"a", "b", "c"}) ASSERT_TRUE(life.run(life.node.create(NodeLife::spec(id))).ok());
  ASSERT_TRUE(life.run(life.node.destroy("b", "killed")).ok());
  life.run([](Node& node) -> Task<bool> {
    co_await node.destroy_all("killed");
    co_return true;
  }(life.node));
  EXPECT_TRUE(host.traces.empty());
  for (const Record& r : life.node.list()) EXPECT_EQ(r.state, State::ended) << r.id;
}

TEST_F(NodeTest, DisksPromisedAreBoundedAndThoseBeingTidiedUpCount) {
  NodeLife life(place, host, clock);
  ASSERT_TRUE(life.begin().ok());
  host.disk = {100ll << 30, 10ll << 30};
  auto spec = NodeLife::spec("a");
  spec.limits.disk_bytes = 319ll << 30;
  ASSERT_TRUE(life.run(life.node.create(spec)).ok());
  spec.id = "b";
  spec.limits.disk_bytes = 2ll << 30;
  const auto refused = life.run(life.node.create(spec));
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Errc::exhausted);
  for (const char* part : {"2048 MiB", "326656 MiB", "32 times", "10240 MiB"})
    EXPECT_NE(refused.error().message.find(part), std::string::npos) << refused.error().message;
  host.refuse_destroy = true;
  ASSERT_TRUE(life.run(life.node.destroy("a", "killed")).ok());
  EXPECT_FALSE(life.run(life.node.create(spec)).ok()) << "its disk is still there";
  host.refuse_destroy = false;
  ASSERT_TRUE(life.run(life.node.destroy_wholly("a", "killed")).ok());
  EXPECT_TRUE(life.run(life.node.create(spec)).ok());
  host.disk.free_bytes = (5ll << 30) - 1;
  spec.id = "c";
  const auto low = life.run(life.node.create(spec));
  ASSERT_FALSE(low.ok());
  EXPECT_NE(low.error().message.find("below 5120 MiB"), std::string::npos) << low.error().message;
}

TEST_F(NodeTest, ABootLogIsCut) {
  NodeLife life(place, host, clock);
  ASSERT_TRUE(life.begin().ok());
  ASSERT_TRUE(life.run(life.node.create(NodeLife::spec("a"))).ok());
  const std::string path = place.config.paths.sandbox_dir("a") + "/boot.log";
  std::string lines;
  while (lines.size() < 3u << 20) lines += "{\"line\":" + std::to_string(lines.size()) + "}\n";
  ASSERT_TRUE(write_file(path, lines).ok());
  life.run([](Node& node) -> Task<bool> {
    co_await node.sample_all();
    co_return true;
  }(life.node));
  const auto cut = read_file(path, 8u << 20);
  EXPECT_LE(cut->size(), static_cast<std::size_t>(Node::kBootLogBytesMax));
  EXPECT_TRUE(cut->starts_with("{\"line\":"));
  EXPECT_EQ(cut->substr(cut->size() - 40), lines.substr(lines.size() - 40));
}

}  // namespace
}  // namespace atl::node
