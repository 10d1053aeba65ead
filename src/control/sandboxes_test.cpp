#include <algorithm>

#include "base/crypto.h"
#include "control/testing/harness.h"

namespace atl::control::testing {
namespace {

class Sandboxes : public ::testing::Test {
 protected:
  void SetUp() override { h.start(); }
  Harness h;
};

std::string hmac(const std::string& text) { return hmac_sha256_hex(std::string(32, 's'), text); }

TEST_F(Sandboxes, CreateV2HasEveryFieldAndStartsTheNode) {
  const Seen made = h.call("POST", "/v2/sandboxes",
                           R"({"templateID":"base","metadata":{"a":"b"},"envVars":{"X":"1"},"allow_internet_access":true})");
  ASSERT_EQ(made.status, 201) << made.text;
  const std::string id = made.field("sandboxID");
  EXPECT_EQ(id.size(), 21u);
  EXPECT_EQ(id[0], 'i');
  EXPECT_EQ(made.field("templateID"), "tplbase");
  EXPECT_EQ(made.field("clientID"), "6532622b");
  EXPECT_EQ(made.field("envdVersion"), "0.6.13");
  EXPECT_EQ(made.field("domain"), "null");
  EXPECT_EQ(made.field("envdAccessToken"), hmac(id));
  EXPECT_EQ(made.field("trafficAccessToken"), "null");
  EXPECT_EQ(json::serialize(made.body.at("atoll").at("receipt")), R"({"tier":"gvisor","kernel":"test"})");
  EXPECT_EQ(made.headers.get_or("content-type", ""), "application/json");
  ASSERT_EQ(h.node.creates.size(), 1u);
  const pb::CreateRequest& asked = h.node.creates[0];
  EXPECT_EQ(asked.timeout_ms(), 300'000);
  EXPECT_EQ(asked.access_token(), hmac(id));
  EXPECT_EQ(asked.traffic_token(), "");
  EXPECT_EQ(asked.env().at("X"), "1");
  EXPECT_EQ(asked.owner(), "project-alpha");
  EXPECT_EQ(asked.tier(), "auto");
}

TEST_F(Sandboxes, CreateV1HasItsOwnDefaults) {
  ASSERT_EQ(h.call("POST", "/sandboxes", R"({"templateID":"tplbase"})").status, 201);
  EXPECT_EQ(h.node.creates[0].timeout_ms(), 15'000);
  EXPECT_EQ(h.node.creates[0].access_token(), "") << "v1 secures only what asks for it";
  const Seen secured = h.call("POST", "/sandboxes", R"({"templateID":"base","secure":true,"timeout":60})");
  EXPECT_EQ(secured.field("envdAccessToken"), hmac(secured.field("sandboxID")));
  EXPECT_EQ(h.node.creates[1].timeout_ms(), 60'000);
}

TEST_F(Sandboxes, TheSessionStartsWhenTheBootHasFinished) {
  h.node.boot_ms = 7000;
  const std::string id = h.create("alpha", R"(,"timeout":60)");
  const Seen detail = h.call("GET", "/sandboxes/" + id);
  EXPECT_EQ(detail.field("startedAt"), "2026-02-02T02:40:07.000Z");
  EXPECT_EQ(detail.field("endAt"), "2026-02-02T02:41:07.000Z");
}

TEST_F(Sandboxes, PrivateTrafficAndMaskReachTheNode) {
  const std::string id =
      h.create("alpha", R"(,"network":{"allowPublicTraffic":false,"maskRequestHost":"localhost:${PORT}","denyOut":["10.0.0.0/8"]})");
  EXPECT_EQ(h.node.creates[0].traffic_token(), hmac("sandbox-traffic-" + id));
  EXPECT_EQ(h.node.creates[0].mask_request_host(), "localhost:${PORT}");
  const Seen detail = h.call("GET", "/sandboxes/" + id);
  EXPECT_EQ(json::serialize(detail.body.at("network")),
            R"({"allowPublicTraffic":false,"denyOut":["10.0.0.0/8"],"maskRequestHost":"localhost:${PORT}"})");
}

TEST_F(Sandboxes, DetailHasAllThatClientsRequire) {
  const std::string id = h.create("alpha", R"(,"metadata":{"atoll.tier":"gvisor","k":"v"},"allow_internet_access":true)");
  const Seen detail = h.call("GET", "/sandboxes/" + id + "-6532622b");
  ASSERT_EQ(detail.status, 200) << detail.text;
  for (const char* name : {"templateID", "alias", "sandboxID", "clientID", "startedAt", "endAt", "envdVersion", "envdAccessToken",
                           "domain", "cpuCount", "memoryMB", "diskSizeMB", "metadata", "state", "network", "lifecycle",
                           "volumeMounts", "atoll"})
    EXPECT_NE(detail.field(name), "(absent)") << name;
  EXPECT_EQ(detail.field("allowInternetAccess"), "false") << "nothing is reachable, whatever was asked";
  EXPECT_EQ(detail.field("lifecycle"), R"({"autoResume":false,"onTimeout":"kill"})");
  EXPECT_EQ(detail.field("cpuCount"), "2");
  EXPECT_EQ(detail.field("memoryMB"), "512");
  EXPECT_EQ(detail.body.at("atoll").at("tier").as_string(), "gvisor");
  EXPECT_EQ(h.node.creates[0].tier(), "gvisor");
}

TEST_F(Sandboxes, UnknownTemplateIs404AndTakesNothing) {
  const Seen answer = h.call("POST", "/v2/sandboxes", R"({"templateID":"nope"})");
  EXPECT_EQ(answer.status, 404);
  EXPECT_EQ(answer.field("code"), "404");
  EXPECT_TRUE(h.records->sandboxes()->empty());
}

TEST_F(Sandboxes, KillIs204ThenA404WithItsCode) {
  const std::string id = h.create();
  const Seen killed = h.call("DELETE", "/sandboxes/" + id);
  EXPECT_EQ(killed.status, 204);
  EXPECT_EQ(killed.text, "");
  EXPECT_EQ(h.node.sandboxes.at(id).state(), "ended");
  for (const char* method : {"DELETE", "GET"}) {
    const Seen again = h.call(method, "/sandboxes/" + id);
    EXPECT_EQ(again.status, 404);
    EXPECT_EQ(again.field("code"), "404");
  }
  EXPECT_EQ(h.call("GET", "/atoll/v1/sandboxes/" + id).field("endReason"), "killed");
}

TEST_F(Sandboxes, ConnectOnlyExtendsTimeoutMayShortenRefreshHasAFloor) {
  const std::string id = h.create("alpha", R"(,"timeout":100)");
  const auto end = [&] { return h.call("GET", "/sandboxes/" + id).field("endAt"); };
  EXPECT_EQ(end(), "2026-02-02T02:41:40.000Z");
  const Seen shorter = h.call("POST", "/sandboxes/" + id + "/connect", R"({"timeout":5})");
  EXPECT_EQ(shorter.status, 200);
  EXPECT_EQ(shorter.field("envdAccessToken"), hmac(id));
  EXPECT_EQ(end(), "2026-02-02T02:41:40.000Z");
  EXPECT_EQ(h.call("POST", "/v2/sandboxes/" + id + "/connect", "{}").status, 200);
  EXPECT_EQ(end(), "2026-02-02T02:45:00.000Z") << "v2: 300 s";
  EXPECT_EQ(h.call("POST", "/sandboxes/" + id + "/timeout", R"({"timeout":30})").status, 204);
  EXPECT_EQ(end(), "2026-02-02T02:40:30.000Z");
  h.clock.advance(std::chrono::seconds(20));
  EXPECT_EQ(h.call("POST", "/sandboxes/" + id + "/refreshes", R"({"duration":1})").status, 204);
  EXPECT_EQ(end(), "2026-02-02T02:40:35.000Z") << "20 s later, and 15 s from then";
  EXPECT_EQ(h.call("POST", "/sandboxes/" + id + "/refreshes").status, 204) << "the body is optional";
  EXPECT_EQ(h.call("POST", "/sandboxes/" + id + "/refreshes", R"({"duration":3601})").status, 400);
  EXPECT_EQ(h.call("POST", "/sandboxes/" + id + "/timeout", R"({"timeout":999999999999})").status, 204) << "clamped";
  EXPECT_EQ(end(), "2026-03-04T02:40:20.000Z");
  EXPECT_EQ(h.call("POST", "/sandboxes/" + id + "/timeout", R"({"timeout":-3})").status, 204) << "negative is 0";
  EXPECT_EQ(end(), "2026-02-02T02:40:20.000Z");
}

TEST_F(Sandboxes, ConnectRefusesWhatDoesNotFit) {
  const std::string id = h.create();
  EXPECT_EQ(h.call("POST", "/sandboxes/" + id + "/connect", "{}").status, 400) << "v1 requires timeout";
  EXPECT_EQ(h.call("POST", "/v2/sandboxes/" + id + "/connect").status, 200) << "v2 takes no body at all";
  EXPECT_EQ(h.call("POST", "/v2/sandboxes/" + id + "/connect", R"({"timeout":99999999})").status, 400);
  const Seen reboot = h.call("POST", "/v2/sandboxes/" + id + "/connect", R"({"memory":false})");
  EXPECT_EQ(reboot.status, 400);
  EXPECT_EQ(reboot.field("error_code"), "sandbox_memory_override_disabled");
  EXPECT_EQ(h.call("POST", "/v2/sandboxes/inone/connect", "{}").status, 404);
}

TEST_F(Sandboxes, AnEndThatTheNodeSawIsSeenHere) {
  const std::string id = h.create();
  h.node.sandboxes.at(id).set_oom_kills(3);
  h.node.end(id, "oom");
  h.until([&] { return h.call("GET", "/sandboxes/" + id).status == 404; });
  const Seen receipt = h.call("GET", "/atoll/v1/sandboxes/" + id);
  EXPECT_EQ(receipt.field("state"), "ended");
  EXPECT_EQ(receipt.field("endReason"), "oom");
  EXPECT_EQ(receipt.field("oomKills"), "3");
  EXPECT_EQ(json::serialize(receipt.body.at("receipt").at("kernel")), "\"test\"");
}

TEST_F(Sandboxes, WhatIsNotBuiltSays501AfterTheIdWasChecked) {
  const std::string id = h.create();
  for (const char* verb : {"pause", "resume", "fork", "snapshots"}) {
    const Seen own = h.call("POST", "/sandboxes/" + id + "/" + verb, "{}");
    EXPECT_EQ(own.status, 501) << verb;
    EXPECT_EQ(own.field("code"), "501");
    EXPECT_EQ(h.call("POST", "/sandboxes/inone/" + std::string(verb), "{}").status, 404) << verb;
  }
}

TEST_F(Sandboxes, NetworkUpdateTakesDenialsAndRefusesPermissions) {
  const std::string id = h.create("alpha", R"(,"network":{"denyOut":["10.0.0.0/8"]})");
  EXPECT_EQ(h.call("PUT", "/sandboxes/" + id + "/network", R"({"denyOut":["1.1.1.1","::/0"]})").status, 204);
  EXPECT_EQ(json::serialize(h.call("GET", "/sandboxes/" + id).body.at("network").at("denyOut")), R"(["1.1.1.1","::/0"])");
  const Seen refused = h.call("PUT", "/sandboxes/" + id + "/network", R"({"allowOut":["1.1.1.1"]})");
  EXPECT_EQ(refused.status, 400);
  EXPECT_NE(refused.field("message").find("egress is not available yet"), std::string::npos) << refused.text;
}

TEST_F(Sandboxes, MetricsAndLogs) {
  h.node.log_lines =
      "{\"ts\":\"2026-02-02T02:40:01.5Z\",\"level\":\"warn\",\"role\":\"agent\",\"msg\":\"hello\",\"n\":1}\n"
      "\x1b[31m raw \xff bytes\n{\"level\":\"shout\",\"msg\":5}\n";
  const std::string id = h.create();
  const Seen metrics = h.call("GET", "/sandboxes/" + id + "/metrics?start=0&end=99999999999");
  ASSERT_EQ(metrics.status, 200) << metrics.text;
  EXPECT_EQ(metrics.body.at(0).at("cpuUsedPct").as_double(), 12.5);
  const Seen many = h.call("GET", "/sandboxes/metrics?sandbox_ids=" + id + "%2Cinone");
  ASSERT_EQ(many.status, 200);
  EXPECT_EQ(many.body.at("sandboxes").as_object().size(), 1u);
  EXPECT_EQ(h.call("GET", "/sandboxes/metrics").status, 400);

  const Seen v1 = h.call("GET", "/sandboxes/" + id + "/logs?limit=1000");
  ASSERT_EQ(v1.status, 200) << v1.text;
  const json::array& logs = v1.body.at("logs").as_array();
  ASSERT_EQ(logs.size(), 5u);
  for (const json::value& one : logs) {
    const auto line = parse_json(std::string_view(one.at("line").as_string()));
    ASSERT_TRUE(line.ok()) << one;
    EXPECT_TRUE(line->at("level").is_string() && line->at("logger").is_string()) << one;
  }
  const Seen warn = h.call("GET", "/v2/sandboxes/" + id + "/logs?level=warn");
  ASSERT_EQ(warn.body.at("logs").as_array().size(), 1u) << warn.text;
  EXPECT_EQ(warn.body.at("logs").at(0).at("message").as_string(), "hello");
  EXPECT_EQ(h.call("GET", "/v2/sandboxes/" + id + "/logs?direction=sideways").status, 400);
}

}  // namespace
}  // namespace atl::control::testing
