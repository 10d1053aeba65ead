#include <gtest/gtest.h>

#include "node/testing/rig.h"

// The node dies at every step of a create and of a destroy; the next one must find what is there,
// and nothing may be left that nobody owns.
namespace atl::node {
namespace {

using namespace testing;

struct Crash : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct CrashTest : ::testing::TestWithParam<const char*> {
  Place place;
  Host host;
  FakeClock clock;
  CrashTest() { clock.wall_now = from_unix_millis(1'700'000'000'000); }
  Failpoint at(std::string step) {
    return [step](std::string_view here) {
      if (here == step) throw Crash(step);
    };
  }
  // All that the host has belongs to a running record, and the other way round.
  void expect_consistent(NodeLife& life) {
    std::set<std::string> running;
    for (const Record& r : life.node.list()) {
      EXPECT_TRUE(r.state == State::running || r.state == State::ended) << r.id << " " << name(r.state);
      if (r.state == State::running) running.insert(r.id);
    }
    EXPECT_EQ(host.traces, running);
    const auto folders = recorded_ids(place.config.paths);
    for (const std::string& id : *folders) EXPECT_NE(life.node.find(id), nullptr) << "stray folder of " << id;
  }
};

struct CreateCrash : CrashTest {};
TEST_P(CreateCrash, IsFoundByTheNextNode) {
  const std::string step = GetParam();
  {
    NodeLife life(place, host, clock, at(step));
    host.step = at(step);
    ASSERT_TRUE(life.begin().ok());
    EXPECT_THROW((void)life.run(life.node.create(NodeLife::spec("a"))), Crash);
  }
  host.step = [](std::string_view) {};
  NodeLife next(place, host, clock);
  ASSERT_TRUE(next.begin().ok());
  expect_consistent(next);
  const bool whole = step == "create: after the second journal";
  EXPECT_EQ(next.node.find("a") != nullptr, whole) << step;
  EXPECT_EQ(host.running.contains("a"), whole) << step;
  // The id range is free again, or held by the sandbox that lives on.
  const auto other = next.run(next.node.create(NodeLife::spec("b")));
  ASSERT_TRUE(other.ok());
  if (whole) EXPECT_NE(other->uid_base, next.node.find("a")->uid_base);
}
INSTANTIATE_TEST_SUITE_P(Steps, CreateCrash,
                         ::testing::Values("create: before the folder", "create: before the journal",
                                           "create: after the journal", "create: before the driver",
                                           "driver: half started", "create: after the driver",
                                           "create: after ready", "create: after the second journal"));

struct DestroyCrash : CrashTest {};
TEST_P(DestroyCrash, IsFinishedByTheNextNode) {
  const std::string step = GetParam();
  {
    NodeLife life(place, host, clock, at(step));
    ASSERT_TRUE(life.begin().ok());
    ASSERT_TRUE(life.run(life.node.create(NodeLife::spec("a"))).ok());
    host.step = at(step);
    EXPECT_THROW((void)life.run(life.node.destroy_wholly("a", "killed")), Crash);
  }
  host.step = [](std::string_view) {};
  NodeLife next(place, host, clock);
  ASSERT_TRUE(next.begin().ok());
  expect_consistent(next);
  ASSERT_NE(next.node.find("a"), nullptr);
  // Before its journal said so, nothing had happened: the sandbox runs on, and the caller, who got no
  // answer, asks again.
  if (step == "destroy: before the journal") {
    EXPECT_EQ(next.node.find("a")->state, State::running);
    ASSERT_TRUE(next.run(next.node.destroy_wholly("a", "killed")).ok());
  }
  EXPECT_EQ(next.node.find("a")->state, State::ended);
  EXPECT_EQ(next.node.find("a")->end_reason, "killed");
  EXPECT_TRUE(host.traces.empty());
}
INSTANTIATE_TEST_SUITE_P(Steps, DestroyCrash,
                         ::testing::Values("destroy: before the journal", "destroy: after the journal",
                                           "destroy: before the kill", "driver: half killed",
                                           "destroy: after the kill", "tidy: before the driver",
                                           "driver: half destroyed", "tidy: after the driver",
                                           "tidy: after the second journal"));

// The end was answered, and the node dies while it tidies up in the background.
struct TidyCrash : CrashTest {};
TEST_P(TidyCrash, IsFinishedByTheNextNodeBeforeTheIdsAreUsedAgain) {
  const std::string step = GetParam();
  std::uint32_t ids = 0;
  {
    bool reached = false;
    auto note_and_die = [&, step](std::string_view here) {
      if (here != step) return;
      reached = true;
      throw Crash(step);
    };
    NodeLife life(place, host, clock, note_and_die);
    ASSERT_TRUE(life.begin().ok());
    ids = life.run(life.node.create(NodeLife::spec("a")))->uid_base;
    host.step = note_and_die;
    EXPECT_TRUE(life.run(life.node.destroy("a", "killed")).ok());
    EXPECT_FALSE(host.running.contains("a")) << "answered, and a process lives";
    ASSERT_TRUE(life.until([&] { return reached; }));
    if (step != "tidy: after the second journal") {
      EXPECT_EQ(life.node.find("a")->state, State::ending);
    }
    place.config.uid_ranges = Node::kProbeRanges + 1;
  }
  host.step = [](std::string_view) {};
  NodeLife next(place, host, clock);
  ASSERT_TRUE(next.begin().ok());
  expect_consistent(next);
  ASSERT_NE(next.node.find("a"), nullptr);
  EXPECT_EQ(next.node.find("a")->state, State::ended);
  EXPECT_EQ(next.node.find("a")->end_reason, "killed");
  EXPECT_TRUE(host.traces.empty());
  EXPECT_EQ(next.run(next.node.create(NodeLife::spec("b")))->uid_base, ids);
}
INSTANTIATE_TEST_SUITE_P(Steps, TidyCrash,
                         ::testing::Values("tidy: before the driver", "driver: half destroyed",
                                           "tidy: after the driver", "tidy: after the second journal"));

TEST_F(CrashTest, TwoJournalsWithOneRangeGiveItBackOnceBothAreGone) {
  {
    NodeLife life(place, host, clock);
    ASSERT_TRUE(life.begin().ok());
    for (const char* id : {"a", "b"}) ASSERT_TRUE(life.run(life.node.create(NodeLife::spec(id))).ok());
    Record second = *life.node.find("b");
    second.uid_base = life.node.find("a")->uid_base;
    ASSERT_TRUE(save_record(place.config.paths, second).ok());
  }
  place.config.uid_ranges = Node::kProbeRanges + 1;
  NodeLife next(place, host, clock);
  ASSERT_TRUE(next.begin().ok());
  ASSERT_EQ(next.node.find("b")->state, State::running);
  // Whichever holds it, and goes first: the range stays in use as long as the other lives.
  ASSERT_TRUE(next.run(next.node.destroy_wholly("a", "killed")).ok());
  EXPECT_EQ(next.run(next.node.create(NodeLife::spec("c"))).error().code, Errc::exhausted);
  ASSERT_TRUE(next.run(next.node.destroy_wholly("b", "killed")).ok());
  ASSERT_TRUE(next.run(next.node.create(NodeLife::spec("d"))).ok());
  EXPECT_EQ(next.run(next.node.create(NodeLife::spec("e"))).error().code, Errc::exhausted);
}

TEST_F(CrashTest, AFailedEndOfWhoDoesNotHoldTheRangeLeavesItsHolderAlone) {
  {
    NodeLife life(place, host, clock);
    ASSERT_TRUE(life.begin().ok());
    for (const char* id : {"a", "b"}) ASSERT_TRUE(life.run(life.node.create(NodeLife::spec(id))).ok());
    Record second = *life.node.find("b");
    second.uid_base = life.node.find("a")->uid_base;
    second.state = State::creating;  // undone by the next node
    ASSERT_TRUE(save_record(place.config.paths, second).ok());
  }
  place.config.uid_ranges = Node::kProbeRanges + 1;
  NodeLife next(place, host, clock);
  ASSERT_TRUE(next.begin().ok());
  EXPECT_EQ(next.node.find("b"), nullptr);
  EXPECT_EQ(next.node.find("a")->state, State::running);
  EXPECT_EQ(next.run(next.node.create(NodeLife::spec("c"))).error().code, Errc::exhausted);
}

TEST_F(CrashTest, ASandboxThatDiedMeanwhileIsLost) {
  {
    NodeLife life(place, host, clock);
    ASSERT_TRUE(life.begin().ok());
    ASSERT_TRUE(life.run(life.node.create(NodeLife::spec("a"))).ok());
    ASSERT_TRUE(life.run(life.node.create(NodeLife::spec("b"))).ok());
  }
  host.running.erase("a");
  NodeLife next(place, host, clock);
  ASSERT_TRUE(next.begin().ok());
  EXPECT_EQ(next.node.find("a")->state, State::ended);
  EXPECT_EQ(next.node.find("a")->end_reason, "lost");
  EXPECT_EQ(next.node.find("b")->state, State::running);
  expect_consistent(next);
}

TEST_F(CrashTest, WhatHasNoJournalIsRemoved) {
  host.traces.insert("stray");
  NodeLife life(place, host, clock);
  ASSERT_TRUE(make_dirs(place.config.paths.sandbox_dir("folder"), 0755).ok());
  ASSERT_TRUE(life.begin().ok());
  EXPECT_TRUE(host.traces.empty());
  EXPECT_FALSE(exists(place.config.paths.sandbox_dir("folder")));
}

}  // namespace
}  // namespace atl::node
