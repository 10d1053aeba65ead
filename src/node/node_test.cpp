#include "node/node.h"

#include <gtest/gtest.h>

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
  ASSERT_TRUE(life.run(life.node.destroy("a", "killed")).ok());
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
  const auto refused = life.run(life.node.destroy("a", "killed"));
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(life.node.find("a")->state, State::ending);
  const auto other = life.run(life.node.create(NodeLife::spec("b")));
  EXPECT_NE(other->uid_base, made->uid_base);
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
  ASSERT_TRUE(life.run(life.node.destroy("a", "killed")).ok());
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
  host.usage.cpu_usec = 1'000'000;
  sample();
  clock.advance(5s);
  host.usage.cpu_usec += 7'500'000;
  host.usage.oom_kills = 3;
  sample();
  const auto& samples = life.node.usage("a")->samples();
  ASSERT_EQ(samples.size(), 2u);
  EXPECT_DOUBLE_EQ(samples[1].cpu_used_pct, 150.0);
  EXPECT_EQ(life.node.find("a")->oom_kills, 3);
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
