#include <gtest/gtest.h>

#include "base/crypto.h"
#include "control/create_request.h"
#include "control/ids.h"
#include "control/list_query.h"
#include "control/log_lines.h"
#include "control/time_text.h"

namespace atl::control {
namespace {

std::string refusal(const std::string& body, ApiVersion version = ApiVersion::v2) {
  const auto parsed = parse_create(body, version);
  return parsed.ok() ? "" : std::string(name(parsed.error().code)) + ": " + parsed.error().message;
}

std::string with(const std::string& member) { return R"({"templateID":"base",)" + member + "}"; }

TEST(ParseCreate, AcceptsWhatEverySdkSendsByDefault) {
  for (const char* body : {
           R"({"templateID":"base","metadata":{},"envVars":{}})",
           R"({"templateID":"base","secure":true,"allow_internet_access":true,"timeout":300,"autoPause":false})",
           R"({"templateID":"base","metadata":null,"envVars":null,"network":null,"mcp":null,"iam":null,"volumeMounts":[]})",
           R"({"templateID":"base","autoPause":false,"autoPauseMemory":true,"autoResume":{"enabled":false}})",
           R"({"templateID":"base","network":{"allowPublicTraffic":true,"allowOut":[],"denyOut":[],"egressProxy":null,"rules":{}}})",
           R"({"templateID":"base","somethingNewer":{"x":1}})",
       })
    EXPECT_EQ(refusal(body), "") << body;
}

TEST(ParseCreate, RefusesWhatWouldNotBeEnforced) {
  const std::pair<const char*, const char*> cases[] = {
      {R"("network":{"allowOut":["1.1.1.1"]})", "invalid: network.allowOut: egress is not available yet"},
      {R"("network":{"rules":{"a.test":[]}})", "invalid: network.rules: egress"},
      {R"("network":{"egressProxy":{"address":"x"}})", "invalid: network.egressProxy: egress"},
      {R"("network":{"dnsServers":["8.8.8.8"]})", "invalid: network.dnsServers: egress"},
      {R"("network":{"httpsPorts":[8443]})", "invalid: network.httpsPorts: "},
      {R"("iam":{"tokens":{"a":{}}})", "invalid: iam: "},
      {R"("mcp":{"browserbase":{}})", "invalid: mcp: "},
      {R"("volumeMounts":[{"name":"v","path":"/v"}])", "invalid: volumeMounts: "},
      {R"("autoPause":true)", "unsupported: autoPause: "},
      {R"("autoResume":{"enabled":true})", "unsupported: autoResume: "},
      {R"("autoPauseMemory":false)", "invalid: autoPauseMemory: "},
  };
  for (const auto& [member, expected] : cases) EXPECT_TRUE(refusal(with(member)).starts_with(expected)) << refusal(with(member));
}

TEST(ParseCreate, NamesTheFieldThatDoesNotFit) {
  const std::pair<std::string, const char*> cases[] = {
      {"", "the body is empty"},
      {"[]", "body: expected an object"},
      {"{", "invalid JSON at byte"},
      {"{}", "templateID: missing"},
      {R"({"templateID":7})", "templateID: expected a string"},
      {R"({"templateID":""})", "templateID: empty"},
      {with(R"("timeout":"5")"), "timeout: expected a whole number"},
      {with(R"("timeout":0)"), "timeout: 0 s asked, it must be positive"},
      {with(R"("timeout":-1)"), "timeout: -1 s asked"},
      {with(R"("timeout":2592001)"), "at most 2592000 s"},
      {with(R"("timeout":1e300)"), "timeout: expected a whole number"},
      {with(R"("metadata":{"a":1})"), "metadata.a: expected a string"},
      {with(R"("metadata":{"atoll.owner":"x"})"), "metadata: keys that begin with \"atoll.\" are reserved"},
      {with(R"("metadata":{"atoll.tier":"strongest"})"), "metadata.atoll.tier: expected auto"},
      {with(R"("envVars":{"A=B":"x"})"), "envVars: a name must not"},
      {with(R"("envVars":{"":"x"})"), "envVars: a name must not"},
      {with(R"("envVars":{"A":"x\u0000y"})"), "envVars: a name must not"},
      {with(R"("network":{"denyOut":["evil.test"]})"), "network.denyOut[0]: expected an IP address"},
      {with(R"("network":{"denyOut":"1.1.1.1"})"), "network.denyOut: expected an array"},
      {with(R"("network":{"maskRequestHost":"a\r\nX: y"})"), "network.maskRequestHost: expected a host"},
      {R"({"templateID":")" + std::string(257, 'a') + "\"}", "templateID: longer than 256"},
  };
  for (const auto& [body, expected] : cases) EXPECT_NE(refusal(body).find(expected), std::string::npos) << body << " -> " << refusal(body);
  EXPECT_NE(refusal(std::string(40, '[')).find("invalid JSON"), std::string::npos) << "depth";
  EXPECT_NE(refusal("{\"templateID\":\"\xff\"}").find("invalid JSON"), std::string::npos) << "UTF-8";
  const std::string open_v1 = R"({"templateID":"base","network":{"allowPublicTraffic":false}})";
  EXPECT_NE(refusal(open_v1, ApiVersion::v1).find("requires a secured sandbox"), std::string::npos);
  EXPECT_EQ(refusal(open_v1, ApiVersion::v2), "");
}

TEST(ParseCreate, ReadsTheFields) {
  const auto parsed = parse_create(with(R"("timeout":7,"metadata":{"z":"1","atoll.tier":"container","a":"2"},"envVars":{"K":""})"),
                                   ApiVersion::v2);
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(parsed->timeout_s, 7);
  EXPECT_EQ(parsed->tier, "container");
  EXPECT_EQ(parsed->metadata.front().first, "a") << "sorted";
  EXPECT_EQ(parsed->env.front(), (std::pair<std::string, std::string>("K", "")));
}

TEST(ParseCreate, Cidr) {
  for (const char* good : {"1.2.3.4", "10.0.0.0/8", "0.0.0.0/0", "::/0", "fe80::1", "2001:db8::/32"}) EXPECT_TRUE(is_cidr(good)) << good;
  for (const char* bad : {"", "/", "1.2.3", "1.2.3.4/33", "1.2.3.4/", "1.2.3.4/08", "::/129", "1.2.3.4/-1", "a.test", "010.0.0.1 "})
    EXPECT_FALSE(is_cidr(bad)) << bad;
}

ListQuery query_of(const std::string& text) {
  const std::string whole = "/v2/sandboxes?" + text;
  const auto target = rpc::parse_target(whole);
  EXPECT_TRUE(target.ok());
  const auto query = parse_list_query(*target);
  EXPECT_TRUE(query.ok()) << text;
  return query.ok() ? *query : ListQuery{};
}

TEST(ParseList, DecodesMetadataThreeTimes) {
  const store::Pairs expected{{"k y", "v&1"}};
  EXPECT_EQ(query_of("metadata=k%252520y%3Dv%2525261").metadata, expected);
  const store::Pairs two{{"a", "1"}, {"b", "=&%"}};
  EXPECT_EQ(query_of("metadata=a%3D1%26b%3D%25253D%252526%252525").metadata, two);
}

TEST(ParseList, ReadsAndRefuses) {
  EXPECT_FALSE(query_of("state=running").paused);
  EXPECT_TRUE(query_of("state=running%2Cpaused").paused);
  EXPECT_TRUE(query_of("order=asc").ascending);
  EXPECT_EQ(*query_of("startedAfter=2026-02-02T02%3A40%3A00%2B00%3A00").started_after_us, 1'770'000'000'000'000);
  for (const char* bad : {"state=pausing", "state=", "limit=0", "limit=101", "limit=x", "order=up", "startedAfter=yesterday",
                          "template=base%3Adefault", "nextToken=zzz", "metadata=%25zz"}) {
    const std::string whole = std::string("/v2/sandboxes?") + bad;
    const auto target = rpc::parse_target(whole);
    ASSERT_TRUE(target.ok()) << bad;
    const auto query = parse_list_query(*target);
    EXPECT_FALSE(query.ok()) << bad;
    if (!query.ok()) EXPECT_EQ(query.error().code, Errc::invalid) << bad;
  }
}

TEST(ParseList, CursorsGoThereAndBack) {
  const Cursor cursor{1'770'000'000'123'000, "iabc", true};
  EXPECT_EQ(parse_cursor(cursor_text(cursor)), cursor);
  EXPECT_EQ(parse_cursor(base64url("2026-02-02T02:40:00.123456789Z__iabc"))->unix_us, 1'770'000'000'123'456);
  for (const char* bad : {"", "2026-02-02T02:40:00Z", "2026-02-02T02:40:00Z__", "2026-02-02T02:40:00Z__A/../b", "x__iabc"})
    EXPECT_FALSE(parse_cursor(base64url(bad))) << bad;
}

TEST(TimeText, ReadsAndWrites) {
  EXPECT_EQ(rfc3339(1'770'000'000'007), "2026-02-02T02:40:00.007Z");
  EXPECT_EQ(*parse_rfc3339_us("2026-02-02T02:40:00.007Z"), 1'770'000'000'007'000);
  EXPECT_EQ(*parse_rfc3339_us("2026-02-02T04:40:00+02:00"), 1'770'000'000'000'000);
  for (const char* bad : {"2026-02-30T00:00:00Z", "2026-02-02T24:00:00Z", "2026-02-02T02:40:00", "2026-02-02T02:40:00.Z",
                          "2026-02-02T02:40:00Zx", "1969-12-31T00:00:00Z", ""})
    EXPECT_FALSE(parse_rfc3339_us(bad)) << bad;
}

TEST(Ids, CompositeIdsAreCutAndOthersRefused) {
  EXPECT_EQ(*sandbox_id_of("iabc-6532622b"), "iabc");
  EXPECT_EQ(*sandbox_id_of("iabc"), "iabc");
  for (const std::string& bad : {std::string(""), std::string("-a"), std::string("a-"), std::string("../a"), std::string("a-b-c"),
                                 std::string("A"), std::string("a\n"), std::string(65, 'a')})
    EXPECT_FALSE(sandbox_id_of(bad)) << bad;
  const std::string uuid = new_uuid();
  EXPECT_EQ(uuid.size(), 36u);
  EXPECT_EQ(uuid[14], '4');
}

TEST(LogLines, HostileLinesStayOneLineEach) {
  const auto lines = parse_log_lines("a\nb\n\n{\"ts\":\"2026-02-02T02:40:00Z\",\"level\":\"error\",\"msg\":\"m\\nn\"}\nlate", 5);
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_EQ(lines[1].unix_ms, 5);
  EXPECT_EQ(lines[2].unix_ms, 1'770'000'000'000);
  EXPECT_EQ(lines[3].unix_ms, 1'770'000'000'000) << "a line without a time stands where it was written";
  EXPECT_EQ(line_text(lines[2]).find('\n'), std::string::npos);
  const auto big = parse_log_lines(std::string(100'000, 'x'), 5);
  EXPECT_LE(big.at(0).message.size(), 16u * 1024);
  EXPECT_EQ(parse_log_lines(std::string(60'000, '\n') + std::string(30'000, 'y') + "\n", 5).size(), 1u);
}

}  // namespace
}  // namespace atl::control
