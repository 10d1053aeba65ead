#include "edge/route.h"

#include <gtest/gtest.h>

namespace atl::edge {
namespace {

using Kind = Route::Kind;

rpc::RequestHead request(std::string host, std::string target,
                         std::vector<std::pair<std::string, std::string>> fields = {},
                         std::string method = "GET") {
  rpc::RequestHead head;
  head.method = std::move(method);
  head.authority = std::move(host);
  head.target = std::move(target);
  for (auto& [name, value] : fields) head.headers.add(name, value);
  return head;
}

struct Case {
  const char* what;
  rpc::RequestHead head;
  Kind kind;
  std::string id = "";
  int port_or_status = 0;
};

TEST(Route, Table) {
  const std::pair<std::string, std::string> id{"E2b-Sandbox-Id", "iabc"};
  auto port = [](const char* p) { return std::pair<std::string, std::string>{"E2b-Sandbox-Port", p}; };
  const Case cases[] = {
      {"REST", request("127.0.0.1:7700", "/v2/sandboxes"), Kind::rest},
      {"health without a sandbox", request("127.0.0.1", "/health"), Kind::rest},
      {"api host", request("api.example.com", "/sandboxes"), Kind::rest},
      {"agent by headers", request("127.0.0.1:7700", "/process.Process/Start", {id, port("49983")}),
       Kind::agent, "iabc", 49983},
      {"no port header", request("localhost", "/health", {id}), Kind::agent, "iabc", 49983},
      {"v6", request("[::1]:7700", "/health", {id}), Kind::agent, "iabc", 49983},
      {"shared host", request("sandbox.example.com", "/files?path=a", {id, port("49983")}), Kind::agent,
       "iabc", 49983},
      {"user port", request("localhost", "/contexts", {id, port("49999")}), Kind::port, "iabc", 49999},
      {"user port has REST's paths too", request("localhost", "/sandboxes", {id, port("80")}), Kind::port,
       "iabc", 80},
      {"older composite id", request("localhost", "/health", {{"E2b-Sandbox-Id", "iabc-6532622b"}}),
       Kind::agent, "iabc", 49983},
      {"by host", request("3000-iabc.example.com", "/"), Kind::port, "iabc", 3000},
      {"by host, composite", request("3000-iabc-6532622b.example.com:443", "/"), Kind::port, "iabc", 3000},
      {"by host, agent", request("49983-iabc.example.com", "/files?path=x"), Kind::agent, "iabc", 49983},
      {"host in capitals", request("3000-IABC.Example.COM", "/"), Kind::port, "iabc", 3000},
      {"a page's header must not lead elsewhere",
       request("3000-iabc.example.com", "/", {{"E2b-Sandbox-Id", "iother"}}), Kind::port, "iabc", 3000},
      {"headers under another name", request("example.com", "/health", {id}), Kind::refused, "", 400},
      {"an older client's REST call", request("localhost", "/sandboxes/iabc/connect", {id, port("49983"), {"X-API-Key", "k"}}, "POST"),
       Kind::rest},
      {"the same without a key", request("localhost", "/sandboxes/iabc/connect", {id, port("49983")}, "POST"), Kind::refused, "iabc", 404},
      {"a user's port whatever the key", request("localhost", "/sandboxes/iabc/connect", {id, port("80"), {"X-API-Key", "k"}}, "POST"),
       Kind::port, "iabc", 80},
      {"internal envd route", request("localhost", "/init", {id}), Kind::refused, "iabc", 404},
      {"another service", request("localhost", "/process.Other/Start", {id}), Kind::refused, "iabc", 404},
      {"dots in a path", request("localhost", "/process.Process/../init", {id}), Kind::refused, "iabc", 404},
      {"escaped path", request("localhost", "/%66iles", {id}), Kind::refused, "iabc", 404},
      {"two slashes", request("localhost", "//files", {id}), Kind::refused, "iabc", 404},
      {"port 02280", request("localhost", "/", {id, port("02280")}), Kind::refused, "iabc", 400},
      {"port +2280", request("localhost", "/", {id, port("+2280")}), Kind::refused, "iabc", 400},
      {"port %32280", request("localhost", "/", {id, port("%32280")}), Kind::refused, "iabc", 400},
      {"port 0", request("localhost", "/", {id, port("0")}), Kind::refused, "iabc", 400},
      {"port 65536", request("localhost", "/", {id, port("65536")}), Kind::refused, "iabc", 400},
      {"port 049983 is not the agent's", request("localhost", "/", {id, port("049983")}), Kind::refused,
       "iabc", 400},
      {"host port 049983", request("049983-iabc.example.com", "/files"), Kind::refused, "", 400},
      {"host id bad", request("80-i_abc.example.com", "/"), Kind::refused, "", 400},
      {"id bad", request("localhost", "/health", {{"E2b-Sandbox-Id", "../a"}}), Kind::refused, "", 400},
      {"id twice", request("localhost", "/health", {id, {"e2b-sandbox-id", "iother"}}), Kind::refused, "",
       400},
      {"host malformed", request("local host", "/"), Kind::refused, "", 400},
      {"host's port malformed", request("localhost:+80", "/"), Kind::refused, "", 400},
      {"CONNECT", request("127.0.0.1:22", "", {}, "CONNECT"), Kind::refused, "", 405},
      {"signed", request("127.0.0.1", "/files?path=a&signature=v1_x"), Kind::by_signature, "", 49983},
      {"token alone", request("127.0.0.1", "/files?path=a", {{"X-Access-Token", "t"}}), Kind::by_token, "",
       49983},
      {"a call with a token alone", request("127.0.0.1", "/process.Process/Start", {{"X-Access-Token", "t"}}, "POST"), Kind::by_token, "",
       49983},
      {"health with a token alone", request("127.0.0.1", "/health", {{"X-Access-Token", "t"}}), Kind::by_token, "", 49983},
      {"a control route with a token alone", request("127.0.0.1", "/init", {{"X-Access-Token", "t"}}, "POST"), Kind::rest},
      {"nothing that tells", request("127.0.0.1", "/files?path=a"), Kind::refused, "", 400},
      {"agent path without a sandbox", request("127.0.0.1", "/process.Process/List"), Kind::refused, "", 400},
  };
  for (const Case& c : cases) {
    const Route got = route(c.head);
    EXPECT_EQ(got.kind, c.kind) << c.what << ": " << got.message;
    EXPECT_EQ(got.id, c.id) << c.what;
    if (c.kind == Kind::refused)
      EXPECT_EQ(got.status, c.port_or_status) << c.what;
    else
      EXPECT_EQ(got.port, c.port_or_status) << c.what;
  }
}

TEST(Route, WithinADomain) {
  const std::pair<std::string, std::string> id{"E2b-Sandbox-Id", "iabc"};
  const std::pair<std::string, std::string> port80{"E2b-Sandbox-Port", "80"};
  const Case cases[] = {
      {"REST", request("api.sand.test", "/v2/sandboxes"), Kind::rest},
      {"with a port, a dot, capitals", request("API.sand.test.:8443", "/health"), Kind::rest},
      {"a header at api changes nothing", request("api.sand.test", "/v2/sandboxes", {id}), Kind::rest},
      {"agent", request("49983-iabc.sand.test", "/files?path=a"), Kind::agent, "iabc", 49983},
      {"port", request("3000-iabc.sand.test:443", "/v2/sandboxes"), Kind::port, "iabc", 3000},
      {"a page's header", request("3000-iabc.sand.test", "/", {{"E2b-Sandbox-Id", "iother"}}), Kind::port,
       "iabc", 3000},
      {"shared host", request("sandbox.sand.test", "/x", {id, port80}), Kind::port, "iabc", 80},
      {"shared host, signed", request("sandbox.sand.test", "/files?path=a&signature=v1_x"), Kind::by_signature,
       "", 49983},
      {"shared host without the header", request("sandbox.sand.test", "/x"), Kind::refused, "", 400},
      {"internal route", request("49983-iabc.sand.test", "/init"), Kind::refused, "iabc", 404},
      {"freeze", request("49983-iabc.sand.test", "/freeze", {}, "POST"), Kind::refused, "iabc", 404},
      {"port 02280", request("02280-iabc.sand.test", "/"), Kind::refused, "", 400},
      {"port +2280", request("+2280-iabc.sand.test", "/"), Kind::refused, "", 421},
      {"no port", request("iabc.sand.test", "/"), Kind::refused, "", 421},
      {"the domain itself", request("sand.test", "/"), Kind::refused, "", 421},
      {"two labels", request("3000-iabc.x.sand.test", "/"), Kind::refused, "", 421},
      {"another domain", request("3000-iabc.other.test", "/"), Kind::refused, "", 421},
      {"a domain that ends alike", request("3000-iabc.grandsand.test", "/"), Kind::refused, "", 421},
      {"api of another", request("api.other.test", "/"), Kind::refused, "", 421},
      {"an address", request("127.0.0.1", "/v2/sandboxes", {id}), Kind::refused, "", 421},
      {"CONNECT", request("api.sand.test:443", "", {}, "CONNECT"), Kind::refused, "", 405},
  };
  for (const Case& c : cases) {
    const Route got = route(c.head, "sand.test");
    EXPECT_EQ(got.kind, c.kind) << c.what << ": " << got.message;
    EXPECT_EQ(got.id, c.id) << c.what;
    if (c.kind == Kind::refused)
      EXPECT_EQ(got.status, c.port_or_status) << c.what;
    else
      EXPECT_EQ(got.port, c.port_or_status) << c.what;
  }
}

}  // namespace
}  // namespace atl::edge
