#include "control/quota.h"

#include "control/testing/harness.h"

namespace atl::control::testing {
namespace {

TEST(CreateRate, FillsWithTheClockAndGivesBack) {
  FakeClock clock;
  CreateRate rate(clock);
  for (int i = 0; i < 6; ++i) EXPECT_FALSE(rate.take("p", 6)) << i;
  const auto refused = rate.take("p", 6);
  ASSERT_TRUE(refused);
  EXPECT_EQ(refused->wait_s, 10);
  EXPECT_TRUE(refused->retry_helps);
  EXPECT_FALSE(rate.take("other", 6)) << "a bucket of its own";
  clock.advance(std::chrono::milliseconds(9999));
  EXPECT_TRUE(rate.take("p", 6));
  clock.advance(std::chrono::milliseconds(2));
  EXPECT_FALSE(rate.take("p", 6));
  EXPECT_TRUE(rate.take("p", 6));
  rate.give_back("p", 6);
  EXPECT_FALSE(rate.take("p", 6));
  clock.advance(std::chrono::hours(5));
  EXPECT_EQ(rate.state("p", 6).remaining, 6) << "no more than its size";
}

class Quotas : public ::testing::Test {
 protected:
  Quotas() {
    h.add_project("small", store::Quota{2, 100, 100'000, 600});
    h.add_project("vcpu", store::Quota{100, 3, 100'000, 600});
    h.add_project("memory", store::Quota{100, 100, 1000, 600});
    h.add_project("slow", store::Quota{100, 100, 100'000, 2});
    h.start();
  }
  Seen create(const std::string& project, const std::string& extra = "") {
    return h.call("POST", "/v2/sandboxes", R"({"templateID":"base")" + extra + "}", project);
  }
  Harness h;
};

TEST_F(Quotas, TheThirdOfTwoIs429WithTruthfulHeaders) {
  const std::string first = h.create("small");
  h.create("small");
  const Seen refused = create("small");
  ASSERT_EQ(refused.status, 429) << refused.text;
  EXPECT_EQ(refused.field("code"), "429");
  EXPECT_EQ(refused.headers.get_or("Should-Retry", ""), "false") << "both run for five minutes";
  EXPECT_FALSE(refused.headers.get("Retry-After")) << "clients that only know this one would wait for nothing";
  EXPECT_TRUE(refused.headers.get("RateLimit-Limit") && refused.headers.get("RateLimit-Remaining") &&
              refused.headers.get("RateLimit-Reset"));
  EXPECT_EQ(h.call("POST", "/sandboxes/" + first + "/timeout", R"({"timeout":4})", "small").status, 204);
  const Seen soon = create("small");
  EXPECT_EQ(soon.headers.get_or("Should-Retry", ""), "true") << "one ends in four seconds";
  EXPECT_EQ(soon.headers.get_or("Retry-After", ""), "4");
  EXPECT_EQ(h.call("DELETE", "/sandboxes/" + first, "", "small").status, 204);
  EXPECT_EQ(create("small").status, 201);
}

TEST_F(Quotas, CpuAndMemoryCountToo) {
  h.create("vcpu");
  EXPECT_NE(create("vcpu").text.find("vCPUs"), std::string::npos);
  h.create("memory");
  EXPECT_NE(create("memory").text.find("MB of memory"), std::string::npos);
}

TEST_F(Quotas, CreatesAMinute) {
  h.create("slow");
  h.create("slow");
  const Seen refused = create("slow");
  ASSERT_EQ(refused.status, 429);
  EXPECT_EQ(refused.headers.get_or("Retry-After", ""), "30");
  EXPECT_EQ(refused.headers.get_or("Should-Retry", ""), "true");
  EXPECT_EQ(refused.headers.get_or("RateLimit-Limit", ""), "2");
  EXPECT_EQ(refused.headers.get_or("RateLimit-Remaining", ""), "0");
  h.clock.advance(std::chrono::seconds(30));
  EXPECT_EQ(create("slow").status, 201);
}

TEST_F(Quotas, AFailedCreateGivesEverythingBack) {
  struct {
    Errc code;
    int status;
    const char* should_retry;
  } const cases[] = {{Errc::exhausted, 503, "true"}, {Errc::unavailable, 503, "true"}, {Errc::deadline, 504, "false"},
                     {Errc::internal, 500, ""},      {Errc::unsupported, 501, ""},     {Errc::invalid, 400, ""}};
  for (const auto& one : cases) {
    for (int i = 0; i < 3; ++i) {  // more often than either quota allows
      h.node.step = [&](std::string_view rpc, bool) -> Status {
        if (rpc == "create") return make_error(one.code, "node: says no");
        return ok();
      };
      const Seen failed = create("slow");
      EXPECT_EQ(failed.status, one.status) << failed.text;
      EXPECT_EQ(failed.field("code"), std::to_string(one.status));
      EXPECT_EQ(failed.headers.get_or("Should-Retry", ""), one.should_retry);
    }
  }
  h.node.step = [](std::string_view, bool) { return ok(); };
  EXPECT_TRUE(h.records->sandboxes()->empty());
  EXPECT_EQ(create("slow").status, 201);
  EXPECT_EQ(create("slow").status, 201);
}

TEST_F(Quotas, CreatesAtOnceCannotPassTheQuotaTogether) {
  h.node.hold_creates = true;
  std::vector<std::unique_ptr<FakeExchange>> all;
  for (int i = 0; i < 5; ++i) {
    all.push_back(h.request("POST", "/v2/sandboxes", R"({"templateID":"base"})", "small"));
    h.begin(*all.back());
  }
  h.until([&] { return h.node.waiting_creates == 2; });
  h.settle();
  EXPECT_EQ(h.node.waiting_creates, 2);
  h.node.release();
  h.until([&] { return std::all_of(all.begin(), all.end(), [](const auto& one) { return one->replies == 1; }); });
  EXPECT_EQ(std::count_if(all.begin(), all.end(), [](const auto& one) { return one->reply_head.status == 201; }), 2);
}

}  // namespace
}  // namespace atl::control::testing
