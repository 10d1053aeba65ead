#include "edge/peer_counts.h"

#include <gtest/gtest.h>

namespace atl::edge {
namespace {

TEST(PeerCounts, OnePeerHasItsShareAndNoMore) {
  PeerCounts counts(2);
  auto a = counts.take("192.0.2.1");
  auto b = counts.take("192.0.2.1");
  EXPECT_NE(a, nullptr);
  EXPECT_NE(b, nullptr);
  EXPECT_EQ(counts.take("192.0.2.1"), nullptr);
  EXPECT_NE(counts.take("192.0.2.2"), nullptr);
  a.reset();
  EXPECT_NE(counts.take("192.0.2.1"), nullptr);
  b.reset();
  EXPECT_EQ(counts.peers(), 0u);
}

TEST(PeerCounts, ASixtyFourIsOnePeer) {
  EXPECT_EQ(peer_group("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
  EXPECT_EQ(peer_group("192.0.2.1"), "192.0.2.1");
  PeerCounts counts(1);
  const auto held = counts.take("2001:db8::1");
  EXPECT_NE(held, nullptr);
  EXPECT_EQ(counts.take("2001:db8::2"), nullptr);
  EXPECT_NE(counts.take("2001:db8:0:1::1"), nullptr);
}

TEST(PeerCounts, WithoutAnAddressNobodyIsCounted) {
  PeerCounts counts(0);
  EXPECT_NE(counts.take(""), nullptr);
}

}  // namespace
}  // namespace atl::edge
