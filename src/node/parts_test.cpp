#include <gtest/gtest.h>

#include "node/capacity.h"
#include "node/channel_hub.h"
#include "node/journal.h"
#include "node/limit_hits.h"
#include "node/uid_ranges.h"

namespace atl::node {
namespace {

TEST(Journal, ReadsWhatItWrote) {
  Record r;
  r.id = "a1";
  r.state = State::running;
  r.tier = isolation::Tier::gvisor;
  r.template_name = "base";
  r.uid_base = 4'000'000'000u;
  r.end_ms = 1'700'000'000'123;
  r.init = {42, 99};
  r.receipt = {{"x", 1}};
  r.end_reason = "quote \" and \n";
  const auto back = parse_journal(journal_text(r));
  ASSERT_TRUE(back.ok()) << back.error().message;
  EXPECT_EQ(journal_text(*back), journal_text(r));
}

TEST(Journal, DamageIsAnErrorNotASandbox) {
  Record r;
  r.id = "a1";
  const std::string good = journal_text(r);
  for (std::size_t cut = 0; cut < good.size(); cut += 7)
    EXPECT_FALSE(parse_journal(good.substr(0, cut)).ok());
  std::string other = good;
  other.replace(other.find("\"version\":1"), 11, "\"version\":2");
  EXPECT_EQ(parse_journal(other).error().code, Errc::unsupported);
  other = good;
  other.replace(other.find("\"a1\""), 4, "\"../\"");
  EXPECT_FALSE(parse_journal(other).ok());
}

TEST(UidRanges, NeverTheSameTwiceAndNotAtOnceAgain) {
  UidRanges ranges(1'000'000, 3);
  const auto a = ranges.take(), b = ranges.take();
  EXPECT_EQ(*a, 1'000'000u);
  EXPECT_EQ(*b, 1'065'536u);
  ranges.give_back(*a);
  EXPECT_EQ(*ranges.take(), 1'131'072u);
  EXPECT_EQ(*ranges.take(), *a);
  EXPECT_EQ(ranges.take().error().code, Errc::exhausted);
  EXPECT_FALSE(ranges.hold(*b).ok());
  EXPECT_FALSE(ranges.hold(1'000'001).ok());
  EXPECT_FALSE(ranges.hold(1'000'000 + 3 * 65536).ok());
}

TEST(Capacity, WhatSandboxesUseAlreadyIsTheirs) {
  const DiskSpace space{100ll << 30, 10ll << 30};
  EXPECT_TRUE(check_disk(space, {1ll << 30, 319ll << 30, 0}, "/x").ok());
  EXPECT_FALSE(check_disk(space, {33ll << 30, 319ll << 30, 0}, "/x").ok());
  EXPECT_TRUE(check_disk(space, {33ll << 30, 319ll << 30, 1ll << 30}, "/x").ok());
  EXPECT_EQ(check_disk(space, {INT64_MAX, INT64_MAX, 0}, "/x").error().code, Errc::exhausted);
  EXPECT_EQ(disk_floor({1ll << 30, 0}), 512ll << 20);
  EXPECT_EQ(disk_floor({100ll << 30, 0}), 5ll << 30);
  EXPECT_TRUE(free_disk_space("/").ok());
  EXPECT_FALSE(free_disk_space("/nonexistent").ok());
}

TEST(LimitHits, NamesTheLimitThatWasMetBeforeTheEndWheneverASampleWasTaken) {
  isolation::Usage usage;
  LimitHits hits;
  hits.add(1000, usage);
  EXPECT_EQ(hits.why_ended(1000), "exited");
  usage.pids_refused = 7;
  hits.add(2000, usage);
  hits.add(3000, usage);  // the look at its end, which sees nothing new
  EXPECT_EQ(hits.why_ended(3000), "pids");
  EXPECT_EQ(hits.why_ended(2000 + LimitHits::kCauseMs + 1), "exited");
  usage.oom_kills = 1;
  hits.add(4000, usage);
  EXPECT_EQ(hits.why_ended(4000), "oom");
}

// Numbers of real file systems of 10 GiB and 64 MiB at the moment of ENOSPC, and before it.
TEST(LimitHits, AFullDiskIsOneWithoutRoomForAMegabyte) {
  isolation::Usage usage;
  EXPECT_FALSE(LimitHits::disk_full(usage)) << "no disk is no full disk";
  usage.disk_total_bytes = 10'480'406'528;
  usage.disk_used_bytes = 10'462'806'016;
  EXPECT_TRUE(LimitHits::disk_full(usage));
  usage.disk_used_bytes = 10'400'000'000;
  EXPECT_FALSE(LimitHits::disk_full(usage)) << "80 MB are left, though over 99 % are used";
  const std::int64_t mib = 1 << 20;
  usage.disk_total_bytes = 60 * mib;
  usage.disk_used_bytes = 60 * mib - 2 * mib;
  EXPECT_TRUE(LimitHits::disk_full(usage));
  usage.disk_used_bytes = 55 * mib;
  EXPECT_FALSE(LimitHits::disk_full(usage));
}

TEST(EdgePacket, TakesThreeTypesAndNothingElse) {
  EXPECT_EQ(parse_edge_packet(R"({"type":"ready","id":"a"})")->type, EdgePacket::Type::ready);
  EXPECT_EQ(parse_edge_packet(R"({"type":"refused","id":"a","reason":"late"})")->reason, "late");
  for (const char* bad :
       {"", "[]", "null", R"({"type":"ready"})", R"({"type":"ready","id":"../a"})",
        R"({"type":"gone","id":"a"})", R"({"type":1,"id":"a"})", "{\"type\":\"ready\",\"id\":\"a\"}x"})
    EXPECT_FALSE(parse_edge_packet(bad).ok()) << bad;
}

}  // namespace
}  // namespace atl::node
