#include <gtest/gtest.h>

#include "node/channel_hub.h"
#include "node/journal.h"
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
