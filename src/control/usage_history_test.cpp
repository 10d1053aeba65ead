#include "control/usage_history.h"

#include "control/testing/harness.h"

namespace atl::control::testing {
namespace {

using Activities = std::map<std::string, SandboxIndex::Activity>;
constexpr std::int64_t kEver = 9'000'000'000'000;

TEST(UsageHistory, ASampleHasTheMostAndTheRateOfItsTime) {
  UsageHistory history;
  history.begin(10'000);
  history.sample(Activities{{"p", {3, 5}}, {"idle", {0, 0}}}, 20'000);
  const auto samples = history.of("p", {1, 0}, 20'500, 0, kEver);
  ASSERT_EQ(samples.size(), 1u) << "half a second is no sample";
  EXPECT_EQ(samples[0].unix_ms, 20'000);
  EXPECT_EQ(samples[0].concurrent, 3);
  EXPECT_FLOAT_EQ(samples[0].starts_per_s, 0.5f);
  EXPECT_EQ(history.of("p", {1, 4}, 22'000, 21'000, kEver).at(0).starts_per_s, 2.0f);
  EXPECT_TRUE(history.of("idle", {0, 0}, 20'500, 0, kEver).empty());
}

TEST(UsageHistory, IsBoundedAndForgetsTheIdle) {
  UsageHistory history;
  std::int64_t now = 0;
  for (std::size_t i = 0; i < 2 * UsageHistory::kSamplesMax; ++i) history.sample(Activities{{"p", {1, 0}}}, now += 15'000);
  EXPECT_EQ(history.of("p", {}, now, 0, kEver).size(), UsageHistory::kSamplesMax);
  for (std::size_t i = 0; i < UsageHistory::kSamplesMax; ++i) history.sample(Activities{{"p", {0, 0}}}, now += 15'000);
  EXPECT_TRUE(history.of("p", {}, now, 0, kEver).empty());
}

TEST(UsageHistory, AClockThatWasSetBackMakesNoRate) {
  UsageHistory history;
  history.begin(100'000);
  history.sample(Activities{{"p", {1, 1}}}, 50'000);
  EXPECT_FLOAT_EQ(history.of("p", {}, 50'000, 0, kEver).at(0).starts_per_s, 1.0f);
}

class TeamMetrics : public ::testing::Test {
 protected:
  void SetUp() override { h.start(); }
  Harness h;
};

TEST_F(TeamMetrics, TellWhatRanAndOnlyToTheTeam) {
  const std::string first = h.create();
  h.create();
  EXPECT_EQ(h.call("DELETE", "/sandboxes/" + first).status, 204);
  h.clock.advance(std::chrono::seconds(4));
  const Seen list = h.call("GET", "/teams/project-alpha/metrics");
  ASSERT_EQ(list.status, 200) << list.text;
  ASSERT_EQ(list.body.as_array().size(), 1u);
  EXPECT_EQ(list.body.at(0).at("concurrentSandboxes").as_int64(), 2);
  EXPECT_DOUBLE_EQ(list.body.at(0).at("sandboxStartRate").as_double(), 0.5);
  EXPECT_EQ(h.call("GET", "/teams/project-alpha/metrics/max?metric=concurrent_sandboxes").field("value"), "2");
  EXPECT_EQ(h.call("GET", "/teams/project-alpha/metrics/max?metric=concurrent_sandboxes&end=5").field("value"), "0");
  EXPECT_EQ(h.call("GET", "/teams/project-alpha/metrics/max?metric=other").status, 400);
  EXPECT_EQ(h.call("GET", "/teams/project-alpha/metrics?start=2&end=1").status, 400);
  const Seen foreign = h.call("GET", "/teams/project-beta/metrics");
  EXPECT_EQ(foreign.status, 403);
  EXPECT_EQ(foreign.text, h.call("GET", "/teams/none/metrics").text);
}

}  // namespace
}  // namespace atl::control::testing
