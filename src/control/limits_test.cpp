#include "control/limits_told.h"

#include "control/testing/harness.h"

// That a sandbox met its limits, and why it ended, as its owner reads it.
namespace atl::control::testing {
namespace {

std::vector<std::string> texts(const std::vector<store::LogEntry>& lines) {
  std::vector<std::string> out;
  for (const store::LogEntry& line : lines) out.push_back(line.message);
  return out;
}

TEST(LimitsTold, ALineWhenTheTotalHasDoubledAndAMinuteHasPassed) {
  LimitsTold told;
  store::Sandbox row;
  row.id = "i1";
  row.state = store::State::running;
  row.memory_mb = 512;
  pb::Limits limits;
  limits.set_pids(1024);
  EXPECT_TRUE(told.news(row, limits, 0).empty());
  row.oom_kills = 1;
  EXPECT_EQ(texts(told.news(row, limits, 1000)),
            std::vector<std::string>{"out of memory: 1 process killed so far (limit 512 MB)"});
  row.oom_kills = 5;
  EXPECT_TRUE(told.news(row, limits, 60'999).empty()) << "within a minute";
  row.pids_refused = 7;
  EXPECT_EQ(texts(told.news(row, limits, 61'000)),
            (std::vector<std::string>{"out of memory: 5 processes killed so far (limit 512 MB)",
                                      "process limit reached: 7 refused so far (limit 1024 processes and threads)"}));
  row.oom_kills = 9;
  EXPECT_TRUE(told.news(row, limits, 10'000'000).empty()) << "not twice as many";
  row.state = store::State::ending;
  EXPECT_EQ(told.news(row, limits, 10'000'001).size(), 1u) << "the last total is told";
  EXPECT_TRUE(told.news(row, limits, 10'000'002).empty());
}

TEST(LimitsTold, HoweverOftenALimitIsHitTheLogStaysShort) {
  LimitsTold told;
  store::Sandbox row;
  row.state = store::State::running;
  std::size_t lines = 0;
  for (std::int64_t round = 0; round < 500'000; ++round) {  // a month of one sample in five seconds
    row.oom_kills += 3;
    lines += told.news(row, {}, round * 5000).size();
  }
  EXPECT_LT(lines, 25u);
}

class Limits : public ::testing::Test {
 protected:
  void SetUp() override { h.start(); }
  std::vector<std::string> log(const std::string& id) {
    std::vector<std::string> out;
    const Seen seen = h.call("GET", "/v2/sandboxes/" + id + "/logs");
    for (const json::value& one : seen.body.at("logs").as_array()) out.emplace_back(one.at("message").as_string());
    return out;
  }
  std::int64_t held() { return h.call("GET", "/atoll/v1/status").body.at("sandboxes").at("counted").as_int64(); }
  Harness h;
};

TEST_F(Limits, AreInTheLogAndTheEndNamesTheOneThatCausedIt) {
  const std::string id = h.create();
  pb::Sandbox& one = h.node.sandboxes.at(id);
  one.mutable_limits()->set_pids(1024);
  one.set_disk_full_seen(true);
  h.node.publish(one);
  h.settle();
  EXPECT_EQ(log(id).back(), "disk full: writes fail (limit 1024 MB)");
  one.set_pids_refused(3);
  one.set_state("ending");
  one.set_end_reason("pids");
  h.node.publish(one);
  h.settle();
  h.node.end(id, "pids");
  h.settle();
  const auto lines = log(id);
  ASSERT_GE(lines.size(), 3u);
  EXPECT_EQ(lines[lines.size() - 2], "process limit reached: 3 refused so far (limit 1024 processes and threads)");
  EXPECT_TRUE(lines.back().starts_with("sandbox ended: pids (its process limit")) << lines.back();
  const Seen receipt = h.call("GET", "/atoll/v1/sandboxes/" + id);
  EXPECT_EQ(receipt.field("endReason"), "pids");
  EXPECT_EQ(receipt.field("pidsRefused"), "3");
  EXPECT_EQ(receipt.field("diskFullSeen"), "true");
  EXPECT_EQ(h.call("GET", "/sandboxes/" + id).status, 404);
}

TEST_F(Limits, AreNotToldAgainAfterARestart) {
  const std::string id = h.create();
  pb::Sandbox& one = h.node.sandboxes.at(id);
  one.set_oom_kills(2);
  h.node.publish(one);
  h.settle();
  const auto before = log(id);
  h.restart();
  h.node.publish(one);
  h.settle();
  EXPECT_EQ(log(id), before);
}

TEST_F(Limits, WhatIsEndingDoesNotCountForItsProject) {
  const std::string id = h.create();
  EXPECT_EQ(held(), 1);
  pb::Sandbox& one = h.node.sandboxes.at(id);
  one.set_state("ending");
  h.node.publish(one);
  h.settle();
  EXPECT_EQ(held(), 0);
  h.node.end(id, "timeout");
  h.settle();
  EXPECT_EQ(held(), 0);
}

TEST_F(Limits, TemplatesAreListedWithWhatASandboxGets) {
  const Seen own = h.call("GET", "/atoll/v1/templates");
  ASSERT_EQ(own.status, 200);
  EXPECT_EQ(json::serialize(own.body.at("templates").as_array().at(0)),
            R"({"name":"base","templateID":"tplbase","buildID":"b1","tier":"auto","cpuCount":2,"memoryMB":512,)"
            R"("diskSizeMB":1024,"createdAt":"2026-01-02T03:04:05.000Z"})");
  const Seen e2b = h.call("GET", "/templates");
  ASSERT_EQ(e2b.status, 200);
  const json::object& first = e2b.body.as_array().at(0).as_object();
  for (const char* name : {"templateID", "names", "cpuCount", "memoryMB", "diskSizeMB", "createdAt", "buildID"})
    EXPECT_TRUE(first.contains(name)) << name;
  EXPECT_EQ(first.at("atoll").at("tier").as_string(), "auto");
}

}  // namespace
}  // namespace atl::control::testing
