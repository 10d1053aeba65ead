#include <set>

#include "control/sandbox_index.h"
#include "control/testing/harness.h"

namespace atl::control::testing {
namespace {

class Listing : public ::testing::Test {
 protected:
  void SetUp() override { h.start(); }
  std::vector<std::string> ids(const Seen& page) {
    std::vector<std::string> out;
    for (const json::value& one : page.body.as_array()) out.emplace_back(one.at("sandboxID").as_string());
    return out;
  }
  Harness h;
};

TEST_F(Listing, PagesByCursorInBothOrdersAndEndsWithoutAToken) {
  std::set<std::string> made;
  for (int i = 0; i < 7; ++i) {
    made.insert(h.create());
    // Three of each time, so that pages are cut within one.
    if (i % 3 == 2) h.clock.advance(std::chrono::milliseconds(10));
  }
  h.create("beta");
  std::vector<std::string> newest_first, oldest_first;
  for (const char* order : {"desc", "asc"}) {
    auto& all = std::string_view(order) == "asc" ? oldest_first : newest_first;
    std::string token;
    for (int page = 0; page < 10; ++page) {
      const Seen seen = h.call("GET", "/v2/sandboxes?limit=2&order=" + std::string(order) + (token.empty() ? "" : "&nextToken=" + token));
      ASSERT_EQ(seen.status, 200) << seen.text;
      EXPECT_EQ(seen.headers.get_or("X-Total-Running", ""), "7");
      for (auto& id : ids(seen)) all.push_back(id);
      token = seen.headers.get_or("X-Next-Token", "");
      if (token.empty()) break;
    }
  }
  EXPECT_EQ(newest_first.size(), 7u);
  EXPECT_EQ(std::set<std::string>(newest_first.begin(), newest_first.end()), made);
  std::reverse(oldest_first.begin(), oldest_first.end());
  EXPECT_EQ(oldest_first, newest_first);
  const Seen exact = h.call("GET", "/v2/sandboxes?limit=7");
  EXPECT_FALSE(exact.headers.get("X-Next-Token")) << "a full last page has no token either";
}

TEST_F(Listing, Filters) {
  const std::string one = h.create("alpha", R"(,"metadata":{"k y":"v&1","x":"1"})");
  h.clock.advance(std::chrono::seconds(5));
  const std::string two = h.create("alpha", R"(,"metadata":{"x":"1"})");
  EXPECT_EQ(ids(h.call("GET", "/v2/sandboxes?metadata=k%252520y%3Dv%2525261")), std::vector<std::string>{one});
  EXPECT_EQ(ids(h.call("GET", "/sandboxes?metadata=x%3D1")).size(), 2u);
  EXPECT_EQ(ids(h.call("GET", "/v2/sandboxes?metadata=x%3D2")).size(), 0u);
  EXPECT_EQ(ids(h.call("GET", "/v2/sandboxes?startedAfter=2026-02-02T02:40:05Z")), std::vector<std::string>{two}) << "inclusive";
  EXPECT_EQ(ids(h.call("GET", "/v2/sandboxes?template=base")).size(), 2u);
  EXPECT_EQ(ids(h.call("GET", "/v2/sandboxes?template=tplbase")).size(), 2u);
  EXPECT_EQ(ids(h.call("GET", "/v2/sandboxes?template=other")).size(), 0u) << "an unknown filter finds nothing, not everything";
  const Seen paused = h.call("GET", "/v2/sandboxes?state=paused");
  EXPECT_EQ(ids(paused).size(), 0u);
  EXPECT_FALSE(paused.headers.get("X-Total-Running"));
  const Seen filtered = h.call("GET", "/v2/sandboxes?limit=1&metadata=k%252520y%3Dv%2525261");
  EXPECT_EQ(filtered.headers.get_or("X-Total-Running", ""), "1");
  EXPECT_FALSE(filtered.headers.get("X-Next-Token")) << "no further match, so no further page";
}

TEST_F(Listing, EntriesHaveNoToken) {
  h.create();
  const Seen list = h.call("GET", "/v2/sandboxes");
  EXPECT_EQ(list.text.find("envdAccessToken"), std::string::npos);
  const json::object& one = list.body.at(0).as_object();
  for (const char* name : {"templateID", "alias", "sandboxID", "clientID", "startedAt", "endAt", "envdVersion", "cpuCount", "memoryMB",
                           "diskSizeMB", "metadata", "state", "atoll"})
    EXPECT_TRUE(one.contains(name)) << name;
  EXPECT_FALSE(one.contains("network"));
}

TEST(Index, TenThousandSandboxesAreListedWithoutLookingAtAllOfThem) {
  SandboxIndex index;
  for (int i = 0; i < 10'000; ++i) {
    auto entry = std::make_shared<Entry>();
    entry->row.id = "i" + std::to_string(i);
    entry->row.project_id = i % 2 ? "odd" : "even";
    entry->row.state = store::State::running;
    entry->row.started_ms = 1000 + i / 5;
    entry->row.vcpus = 2;
    index.add(std::move(entry));
  }
  EXPECT_EQ(index.use("odd").sandboxes, 5000);
  EXPECT_EQ(index.use("odd").vcpus, 10'000);
  ListQuery query;
  std::size_t count = 0;
  const auto began = std::chrono::steady_clock::now();
  do {
    const auto page = index.list("odd", query, {});
    count += page.entries.size();
    query.after = page.next;
  } while (query.after);
  const auto took = std::chrono::steady_clock::now() - began;
  EXPECT_EQ(count, 5000u);
  EXPECT_LT(took, std::chrono::seconds(1)) << "50 pages";
  RecordProperty("us_for_50_pages", static_cast<int>(std::chrono::duration_cast<std::chrono::microseconds>(took).count()));
  index.remove("i1");
  EXPECT_EQ(index.use("odd").sandboxes, 4999);
  EXPECT_EQ(index.find("even", "i3"), nullptr) << "another project's";
}

}  // namespace
}  // namespace atl::control::testing
