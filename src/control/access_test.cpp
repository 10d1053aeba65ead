#include "control/routes.h"
#include "control/testing/harness.h"

namespace atl::control::testing {
namespace {

class AccessTest : public ::testing::Test {
 protected:
  void SetUp() override { h.start(); }
  Harness h;
};

std::string filled(std::string_view pattern, const std::string& id) {
  std::string out(pattern);
  for (auto at = out.find("{}"); at != std::string::npos; at = out.find("{}")) out.replace(at, 2, id);
  return out;
}

const char* body_for(std::string_view pattern) {
  if (pattern.ends_with("/timeout") || pattern.ends_with("/connect")) return R"({"timeout":60})";
  return "{}";
}

// Every route that names a sandbox, with a foreign id and with an unknown one: the same answer but for
// the id, and nothing happens.
TEST_F(AccessTest, ForeignIdsAnswerLikeUnknownOnesOnEveryRoute) {
  const std::string foreign = h.create("beta");
  const std::string unknown = "i00000000000000000000";
  ASSERT_EQ(foreign.size(), unknown.size());
  int swept = 0;
  for (const Route& route : routes()) {
    if (route.pattern.find("sandboxes/{}") == std::string_view::npos) continue;
    const std::string method(route.method);
    const Seen theirs = h.call(method, filled(route.pattern, foreign), body_for(route.pattern), "alpha");
    Seen none = h.call(method, filled(route.pattern, unknown), body_for(route.pattern), "alpha");
    EXPECT_EQ(theirs.status, 404) << method << " " << route.pattern << " " << theirs.text;
    EXPECT_EQ(none.status, 404) << method << " " << route.pattern;
    if (const auto at = none.text.find(unknown); at != std::string::npos) none.text.replace(at, unknown.size(), foreign);
    EXPECT_EQ(theirs.text, none.text) << method << " " << route.pattern;
    EXPECT_EQ(theirs.headers.all(), none.headers.all());
    ++swept;
  }
  EXPECT_GE(swept, 15);
  EXPECT_TRUE(h.node.destroyed.empty());
  const Seen own = h.call("GET", "/sandboxes/" + foreign, "", "beta");
  EXPECT_EQ(own.status, 200);
  EXPECT_EQ(h.call("GET", "/sandboxes/metrics?sandbox_ids=" + foreign).text, R"({"sandboxes":{}})");
  EXPECT_EQ(h.call("GET", "/v2/sandboxes").text, "[]");
  EXPECT_EQ(h.call("GET", "/sandboxes").text, "[]");
}

TEST_F(AccessTest, ForeignKeysCannotBeSeenOrDeleted) {
  const Seen theirs = h.call("GET", "/api-keys", "", "beta");
  const std::string id(theirs.body.at(0).at("id").as_string());
  const Seen foreign = h.call("DELETE", "/api-keys/" + id, "", "alpha");
  EXPECT_EQ(foreign.status, 404);
  EXPECT_EQ(foreign.text, h.call("DELETE", "/api-keys/00000000-0000-4000-8000-000000000000", "", "alpha").text);
  EXPECT_EQ(h.call("PATCH", "/api-keys/" + id, R"({"name":"mine"})", "alpha").status, 404);
  EXPECT_EQ(h.call("GET", "/api-keys", "", "alpha").text.find(id), std::string::npos);
  EXPECT_EQ(h.call("GET", "/templates?teamID=project-beta", "", "alpha").status, 404);
}

TEST_F(AccessTest, EveryRouteButHealthNeedsAKey) {
  for (const Route& route : routes()) {
    const Seen seen = h.call(std::string(route.method), filled(route.pattern, "iabc"), "{}", "");
    if (route.access == Access::open) {
      EXPECT_EQ(seen.status, 204) << route.pattern;
      continue;
    }
    EXPECT_EQ(seen.status, 401) << route.method << " " << route.pattern;
    EXPECT_EQ(seen.field("code"), "401");
    EXPECT_NE(seen.field("message"), "(absent)");
  }
}

TEST_F(AccessTest, KeysComeInEitherHeader) {
  FakeExchange bearer("GET", "/v2/sandboxes");
  bearer.headers().add("authorization", "bearer " + h.keys.at("alpha"));
  EXPECT_EQ(h.send(bearer).status, 200);
  FakeExchange upper("GET", "/v2/sandboxes");
  upper.headers().add("X-API-Key", h.keys.at("alpha"));
  EXPECT_EQ(h.send(upper).status, 200);
  for (const std::string& bad : {std::string("e2b_"), h.keys.at("alpha") + "0", std::string(5000, 'a'), std::string("' OR 1=1 --")}) {
    FakeExchange wrong("GET", "/v2/sandboxes");
    wrong.headers().add("X-API-KEY", bad);
    const Seen seen = h.send(wrong);
    EXPECT_EQ(seen.status, 401);
    EXPECT_EQ(seen.text.find(bad), std::string::npos) << "a key must not come back in an error";
  }
}

TEST_F(AccessTest, AKeyMadeByAnotherProcessIsFoundWithinASecond) {
  h.clock.advance(std::chrono::seconds(2));
  h.add_project("late", store::Quota{});
  EXPECT_EQ(h.call("GET", "/v2/sandboxes", "", "late").status, 200);
}

TEST_F(AccessTest, KeysAreMadeListedAndDeleted) {
  const Seen made = h.call("POST", "/api-keys", R"({"name":"ci"})");
  ASSERT_EQ(made.status, 201) << made.text;
  const std::string key = made.field("key");
  EXPECT_EQ(key.size(), 44u);
  EXPECT_TRUE(key.starts_with("e2b_"));
  h.keys["ci"] = key;
  const Seen list = h.call("GET", "/api-keys", "", "ci");
  EXPECT_EQ(list.body.as_array().size(), 2u);
  EXPECT_EQ(list.text.find(key), std::string::npos);
  const auto records = h.records->keys();
  for (const store::ApiKey& record : *records) EXPECT_EQ(record.hash.find(key.substr(4)), std::string::npos);
  const Seen renamed = h.call("PATCH", "/api-keys/" + made.field("id"), R"({"name":"builds"})");
  EXPECT_EQ(renamed.status, 200) << renamed.text;
  EXPECT_EQ(renamed.field("name"), "builds");
  EXPECT_EQ(h.call("PATCH", "/api-keys/" + made.field("id"), R"({"name":""})").status, 400);
  h.restart();
  EXPECT_NE(h.call("GET", "/api-keys", "", "ci").text.find("\"builds\""), std::string::npos);
  EXPECT_EQ(h.call("GET", "/teams", "", "ci").body.at(0).at("apiKey").as_string(), key);
  EXPECT_EQ(h.call("DELETE", "/api-keys/" + made.field("id"), "", "alpha").status, 204);
  EXPECT_EQ(h.call("GET", "/api-keys", "", "ci").status, 401) << "deleted at once";
  const Seen rest = h.call("GET", "/api-keys");
  const Seen last = h.call("DELETE", "/api-keys/" + std::string(rest.body.at(0).at("id").as_string()));
  EXPECT_EQ(last.status, 409) << "a project without a key could never be reached again";
  EXPECT_EQ(h.call("POST", "/api-keys", "{\"name\":\"a\\u001b[31m\"}").status, 400);
}

TEST_F(AccessTest, UnknownRoutesAndMethodsHaveTheSameShape) {
  for (const char* path : {"/", "/nothing", "/sandboxes/", "/sandboxes//timeout", "/v2/sandboxes/a/b/c", "/%2e%2e/health", "*"}) {
    const Seen seen = h.call("GET", path);
    EXPECT_TRUE(seen.status == 404 || seen.status == 400) << path << " " << seen.status;
    EXPECT_EQ(seen.field("code"), std::to_string(seen.status)) << path;
  }
  const Seen wrong = h.call("PATCH", "/sandboxes/iabc");
  EXPECT_EQ(wrong.status, 405);
  EXPECT_EQ(wrong.field("code"), "405");
  EXPECT_EQ(wrong.headers.get_or("Allow", ""), "GET, DELETE");
}

TEST_F(AccessTest, BodiesAreBounded) {
  const Seen seen = h.call("POST", "/v2/sandboxes", std::string((16u << 20) + 1, ' '));
  EXPECT_EQ(seen.status, 413);
  EXPECT_EQ(seen.field("code"), "413");
  const Seen invalid = h.call("POST", "/v2/sandboxes", R"({"templateID":7})");
  EXPECT_EQ(invalid.status, 400);
  EXPECT_EQ(invalid.field("message"), "validation error: templateID: expected a string");
}

TEST_F(AccessTest, HostileTextCannotLeaveItsJsonString) {
  const Seen seen = h.call("POST", "/v2/sandboxes", "{\"templateID\":\"x\\r\\nSet-Cookie: a\\\"}\"}");
  EXPECT_EQ(seen.status, 404);
  EXPECT_EQ(seen.body.as_object().size(), 2u);
  EXPECT_EQ(seen.text.find('\r'), std::string::npos);
  for (const auto& [name, value] : seen.headers.all()) EXPECT_EQ(value.find_first_of("\r\n"), std::string::npos) << name;
}

TEST_F(AccessTest, TemplatesOfThisHost) {
  const Seen list = h.call("GET", "/templates");
  ASSERT_EQ(list.body.as_array().size(), 1u) << list.text;
  const json::object& one = list.body.at(0).as_object();
  for (const char* name : {"templateID", "buildID", "cpuCount", "memoryMB", "diskSizeMB", "public", "aliases", "names", "createdAt",
                           "updatedAt", "createdBy", "lastSpawnedAt", "spawnCount", "buildCount", "envdVersion", "buildStatus"})
    EXPECT_TRUE(one.contains(name)) << name;
  EXPECT_EQ(one.at("createdAt").as_string(), "2026-01-02T03:04:05.000Z");
  h.create();
  EXPECT_EQ(h.call("GET", "/v2/templates").body.at(0).at("spawnCount").as_int64(), 1);
  EXPECT_EQ(h.call("GET", "/templates/aliases/base").text, R"({"templateID":"tplbase","public":true})");
  EXPECT_EQ(h.call("GET", "/templates/alpha%2Fbase:default").status, 200);
  EXPECT_EQ(h.call("GET", "/templates/beta%2Fbase").status, 404) << "a foreign namespace";
  EXPECT_EQ(h.call("GET", "/templates/base:v9").status, 404);
  EXPECT_EQ(h.call("GET", "/templates/..%2F..%2Fetc").status, 404);
  h.clock.advance(std::chrono::seconds(2));
  h.add_template("fresh", "tplfresh", 1, 256);
  EXPECT_EQ(h.call("POST", "/v2/sandboxes", R"({"templateID":"fresh"})").status, 201) << "found without a restart";
}

TEST_F(AccessTest, OwnRoutes) {
  h.create();
  EXPECT_EQ(h.call("GET", "/atoll/v1/tiers").body.at("tiers").at(0).at("name").as_string(), "gvisor");
  const Seen status = h.call("GET", "/atoll/v1/status");
  EXPECT_EQ(status.body.at("sandboxes").at("running").as_int64(), 1);
  EXPECT_EQ(status.body.at("roles").at("node").as_string(), "connected");
  EXPECT_EQ(h.call("GET", "/atoll/v1/status", "", "beta").body.at("sandboxes").at("running").as_int64(), 0);
}

TEST(Bootstrap, MakesOneProjectOnce) {
  TempFolder folder;
  auto store = store::open_sqlite_store(folder.path() + "/a.db");
  ASSERT_TRUE(store.ok());
  const auto key = bootstrap_project(**store, "default", 5);
  ASSERT_TRUE(key.ok());
  EXPECT_EQ(key->size(), 44u);
  EXPECT_EQ(key->find_first_not_of("0123456789abcdef", 4), std::string::npos);
  EXPECT_EQ(*bootstrap_project(**store, "default", 6), "");
  EXPECT_EQ((*store)->projects()->at(0).name, "default");
}

}  // namespace
}  // namespace atl::control::testing
