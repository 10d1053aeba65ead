#include "control/testing/harness.h"

namespace atl::control::testing {
namespace {

class Idempotent : public ::testing::Test {
 protected:
  void SetUp() override { h.start(); }
  std::unique_ptr<FakeExchange> create(const std::string& key, const std::string& body = R"({"templateID":"base"})",
                                       const std::string& project = "alpha", const std::string& path = "/v2/sandboxes") {
    auto exchange = h.request("POST", path, body, project);
    exchange->headers().add("Idempotency-Key", key);
    return exchange;
  }
  Seen send(const std::string& key, const std::string& body = R"({"templateID":"base"})", const std::string& project = "alpha") {
    const auto exchange = create(key, body, project);
    return h.send(*exchange);
  }
  Harness h;
};

TEST_F(Idempotent, TheSameCreateTwiceIsOneSandboxAndTheSameBytes) {
  const Seen first = send("once");
  const Seen second = send("once");
  ASSERT_EQ(first.status, 201);
  EXPECT_EQ(second.status, 201);
  EXPECT_EQ(first.text, second.text);
  EXPECT_EQ(h.node.creates.size(), 1u);
  h.restart();
  EXPECT_EQ(send("once").text, first.text) << "after a restart";
  EXPECT_EQ(h.call("DELETE", "/sandboxes/" + first.field("sandboxID")).status, 204);
  EXPECT_EQ(send("once").text, first.text) << "after its end";
  EXPECT_EQ(h.node.creates.size(), 1u);
}

TEST_F(Idempotent, AnotherBodyRouteOrProject) {
  ASSERT_EQ(send("once").status, 201);
  const Seen other = send("once", R"({"templateID":"base","timeout":9})");
  EXPECT_EQ(other.status, 422);
  EXPECT_EQ(other.field("code"), "422");
  const auto v1 = create("once", R"({"templateID":"base"})", "alpha", "/sandboxes");
  EXPECT_EQ(h.send(*v1).status, 422);
  EXPECT_EQ(send("once", R"({"templateID":"base"})", "beta").status, 201) << "keys belong to a project";
  for (const std::string& bad : {std::string(""), std::string(256, 'k'), std::string("a b"), std::string("a\tb")})
    EXPECT_EQ(send(bad).status, 400) << bad;
}

TEST_F(Idempotent, ASecondWaitsForTheFirst) {
  h.node.hold_creates = true;
  const auto first = create("once"), second = create("once"), other = create("once", R"({"templateID":"base","timeout":9})");
  h.begin(*first);
  h.until([&] { return h.node.waiting_creates == 1; });
  h.begin(*second);
  h.begin(*other);
  h.until([&] { return other->replies == 1; });
  EXPECT_EQ(other->reply_head.status, 422) << "known at once";
  h.settle();
  EXPECT_EQ(second->replies, 0);
  h.node.release();
  h.until([&] { return first->replies == 1 && second->replies == 1; });
  EXPECT_EQ(first->reply_body, second->reply_body);
  EXPECT_EQ(h.node.creates.size(), 1u);
}

TEST_F(Idempotent, AFailureIsSharedByThoseWhoWaitAndThenForgotten) {
  h.node.hold_creates = true;
  h.node.step = [](std::string_view rpc, bool after) -> Status {
    if (rpc == "create" && after) return make_error(Errc::internal, "node: broke");
    return ok();
  };
  const auto first = create("once"), second = create("once");
  h.begin(*first);
  h.until([&] { return h.node.waiting_creates == 1; });
  h.begin(*second);
  h.settle();
  h.node.release();
  h.until([&] { return first->replies == 1 && second->replies == 1; });
  EXPECT_EQ(first->reply_head.status, 500);
  EXPECT_EQ(second->reply_body, first->reply_body);
  h.node.step = [](std::string_view, bool) { return ok(); };
  EXPECT_EQ(send("once").status, 201) << "a later repeat tries anew";
  EXPECT_EQ(h.records->idempotency()->size(), 1u);
}

TEST_F(Idempotent, AClientThatVanishedLeavesNothingUnlessItCanAskAgain) {
  for (const bool keyed : {false, true}) {
    h.node.hold_creates = true;
    const auto exchange = keyed ? create("once") : h.request("POST", "/v2/sandboxes", R"({"templateID":"base"})");
    h.begin(*exchange);
    h.until([&] { return h.node.waiting_creates == 1; });
    exchange->go_away();
    const std::string id = h.node.creates.back().id();
    h.node.release();
    h.until([&] { return h.node.sandboxes.contains(id); });
    if (!keyed) h.until([&] { return h.node.sandboxes.at(id).state() == "ended"; });
    h.settle();
    EXPECT_EQ(h.call("GET", "/sandboxes/" + id).status, keyed ? 200 : 404);
    if (keyed) EXPECT_EQ(send("once").field("sandboxID"), id);
  }
}

}  // namespace
}  // namespace atl::control::testing
