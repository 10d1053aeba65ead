#include "edge/proxy.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include "base/json.h"
#include "base/subprocess.h"
#include "edge/replies.h"
#include "rpc/http1.h"

namespace atl::edge {
namespace {

using namespace std::chrono_literals;

const std::string kBoot(64, 'b');

std::pair<UniqueFd, UniqueFd> socket_pair() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0)
    throw std::runtime_error("socketpair");
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

rpc::Socket socket_of(asio::io_context& io, UniqueFd fd) {
  return rpc::Socket(io, asio::generic::stream_protocol(AF_UNIX, 0), fd.release());
}

// An agent: says the preface, answers /health, echoes heads, and has one open port, 8080, whose
// server echoes what it is sent.
struct FakeAgent {
  static Task<void> handle(rpc::Exchange& exchange) {
    const auto& request = exchange.request();
    rpc::ReplyHead head;
    if (request.method == "CONNECT") {
      if (request.authority != "127.0.0.1:8080") {
        head.status = 502;
        (void)co_await exchange.reply(std::move(head), "");
        co_return;
      }
      auto stream = co_await exchange.tunnel(std::move(head));
      if (stream.ok()) co_await serve_port(**stream);
      co_return;
    }
    if (request.target == "/health") {
      head.status = 204;
      (void)co_await exchange.reply(std::move(head), "");
      co_return;
    }
    auto body = co_await rpc::read_all(exchange.body(), 1 << 20);
    head.headers.add("content-type", "text/plain");
    std::string text = text_of(request) + (body.ok() ? *body : "");
    (void)co_await exchange.reply(std::move(head), std::move(text));
  }
  static std::string text_of(const rpc::RequestHead& request) {
    std::string out = request.method + " " + request.target + "\n";
    for (const auto& [name, value] : request.headers.all()) out += name + ": " + value + "\n";
    return out;
  }
  // An HTTP/1.1 server in a few lines: the whole request head comes back as the body.
  static Task<void> serve_port(rpc::ByteStream& stream) {
    std::string head;
    char buffer[4096];
    while (head.find("\r\n\r\n") == head.npos) {
      const auto n = co_await stream.read_some(buffer);
      if (!n.ok() || *n == 0) co_return;
      head.append(buffer, *n);
    }
    std::string reply =
        "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(head.size()) + "\r\n\r\n" + head;
    (void)co_await stream.write(reply);
    (void)co_await stream.finish();
  }
  static Task<void> run(rpc::Socket socket, std::string preface) {
    co_await asio::async_write(socket, asio::buffer(preface), asio::use_awaitable);
    co_await rpc::serve_http2(std::move(socket), rpc::Http2Limits{}, &FakeAgent::handle);
  }
};

struct NoApi final : rpc::Client {
  Task<Result<std::unique_ptr<rpc::ClientExchange>>> open(rpc::RequestHead, bool) override {
    co_return make_error(Errc::unavailable, "connection refused");
  }
};

struct ProxyTest : ::testing::Test {
  asio::io_context io{1};
  FakeClock clock;
  std::vector<std::string> said;
  std::unique_ptr<ChannelRegistry> registry = std::make_unique<ChannelRegistry>(
      io.get_executor(), clock, [this](std::string packet) { said.push_back(std::move(packet)); });
  NoApi api;
  Proxy proxy{*registry, api};
  rpc::Http1Server server{io.get_executor(), rpc::Http1Limits{},
                          [this](rpc::Exchange& e) { return proxy.handle(e, {}); }};
  std::uint16_t port = *server.listen_tcp("127.0.0.1", 0);

  ~ProxyTest() override {
    registry->on_packet(gone("isb"), UniqueFd());
    settle();
  }
  static NodePacket gone(const std::string& id) {
    NodePacket packet;
    packet.type = NodePacket::Type::gone;
    packet.id = id;
    return packet;
  }
  NodePacket sandbox(const std::string& id) {
    NodePacket packet;
    packet.type = NodePacket::Type::sandbox;
    packet.id = id;
    packet.boot_token = kBoot;
    packet.access_token = "access";
    return packet;
  }
  void know(NodePacket packet) {
    registry->on_node_connected();
    registry->on_packet(std::move(packet), UniqueFd());
    registry->on_packet(NodePacket{}, UniqueFd());
  }
  void dial(const std::string& id, const std::string& preface) {
    auto [ours, agents] = socket_pair();
    spawn(io.get_executor(), "agent", FakeAgent::run(socket_of(io, std::move(agents)), preface));
    NodePacket packet;
    packet.type = NodePacket::Type::channel;
    packet.id = id;
    registry->on_packet(std::move(packet), std::move(ours));
  }
  void settle() {
    for (int i = 0; i < 10; ++i) {
      io.restart();
      io.run_for(3ms);
    }
  }
  template <class Condition>
  bool until(Condition condition) {
    for (int i = 0; i < 1000 && !condition(); ++i) {
      io.restart();
      io.run_one_for(10ms);
    }
    return condition();
  }
  using Fields = std::vector<std::pair<std::string, std::string>>;
  rpc::Reply get(std::string target, Fields fields, std::string method = "GET", std::string body = "") {
    rpc::Http1Target where;
    where.host = "127.0.0.1";
    where.port = port;
    const auto client = rpc::http1_client(io.get_executor(), where, 4, Millis(1000));
    rpc::RequestHead head;
    head.method = std::move(method);
    head.target = std::move(target);
    head.authority = "127.0.0.1";
    for (auto& [name, value] : fields) {
      if (name == "host")
        head.authority = value;
      else
        head.headers.add(name, value);
    }
    std::optional<Result<rpc::Reply>> reply;
    asio::co_spawn(io,
                   keep(rpc::call(*client, std::move(head), std::move(body), 1 << 20, Millis(8000)), reply),
                   [](std::exception_ptr) {});
    until([&] { return reply.has_value(); });
    if (!reply || !reply->ok()) {
      ADD_FAILURE() << (reply ? reply->error().message : "no reply");
      return {};
    }
    return std::move(**reply);
  }
  static Task<void> keep(Task<Result<rpc::Reply>> task, std::optional<Result<rpc::Reply>>& out) {
    out.emplace(co_await std::move(task));
  }
};

const std::pair<std::string, std::string> kId{"E2b-Sandbox-Id", "isb"};

TEST_F(ProxyTest, AnUnknownSandboxIs502WithTheWordsThatClientsLookFor) {
  know(sandbox("isb"));
  const auto reply = get("/health", {{"E2b-Sandbox-Id", "iother"}});
  EXPECT_EQ(reply.head.status, 502);
  const auto body = parse_json(reply.body);
  EXPECT_EQ(body->at("message"), "The sandbox was not found");
  EXPECT_EQ(body->at("sandboxId"), "iother");
  EXPECT_EQ(body->at("code"), 502);
  EXPECT_FALSE(body->as_object().contains("port"));
}

TEST_F(ProxyTest, ABrowserGetsAPageAndNothingOfItsOwnInIt) {
  know(sandbox("isb"));
  const auto reply =
      get("/<script>",
          {{"host", "3000-iother.example.com"}, {"accept", "text/html"}, {"sec-fetch-mode", "navigate"}});
  EXPECT_EQ(reply.head.status, 502);
  EXPECT_TRUE(reply.head.headers.get_or("content-type", "").starts_with("text/html"));
  EXPECT_EQ(reply.body.find("<script>"), std::string::npos);
  EXPECT_EQ(html_escape("<a href='\"&"), "&lt;a href=&#39;&quot;&amp;");
}

TEST_F(ProxyTest, ForwardsToAnAgentThatHasProvedItself) {
  know(sandbox("isb"));
  dial("isb", kBoot);
  ASSERT_TRUE(until([&] { return !said.empty(); }));
  EXPECT_EQ(said.front(), ready_packet("isb"));
  EXPECT_EQ(get("/health", {kId}).head.status, 204);
  const auto echo =
      get("/files?path=%2Fa%20b",
          {kId, {"X-Access-Token", "access"}, {"X-Atoll-Client", "forged"}, {"TE", "x"}}, "POST", "the body");
  EXPECT_EQ(echo.head.status, 200);
  EXPECT_TRUE(echo.body.starts_with("POST /files?path=%2Fa%20b\n"));
  EXPECT_TRUE(echo.body.ends_with("the body"));
  EXPECT_NE(echo.body.find("x-access-token: access"), std::string::npos);
  EXPECT_EQ(echo.body.find("x-atoll"), std::string::npos);
  EXPECT_EQ(echo.body.find("\nte:"), std::string::npos);
}

TEST_F(ProxyTest, AWrongPrefaceIsRefused) {
  know(sandbox("isb"));
  dial("isb", std::string(64, 'x'));
  ASSERT_TRUE(until([&] { return !said.empty(); }));
  EXPECT_EQ(said.front(), refused_packet("isb", "wrong preface"));
  EXPECT_EQ(registry->find("isb")->channel, nullptr);
}

TEST_F(ProxyTest, ALatePrefaceIsRefused) {
  auto [ours, agents] = socket_pair();
  rpc::Socket socket = socket_of(io, std::move(ours));
  ASSERT_EQ(::send(agents.get(), kBoot.data(), 63, 0), 63);
  std::optional<Errc> code;
  asio::co_spawn(
      io,
      [](rpc::Socket& s, std::optional<Errc>& out) -> Task<void> {
        const auto status = co_await check_preface(s, kBoot, Millis(30));
        if (!status.ok()) out = status.error().code;
      }(socket, code),
      [](std::exception_ptr) {});
  until([&] { return code.has_value(); });
  EXPECT_EQ(code, Errc::deadline);
}

TEST_F(ProxyTest, AClosedPortIsToldFromADeadSandbox) {
  know(sandbox("isb"));
  dial("isb", kBoot);
  ASSERT_TRUE(until([&] { return !said.empty(); }));
  const auto reply = get("/", {kId, {"E2b-Sandbox-Port", "8081"}});
  EXPECT_EQ(reply.head.status, 502);
  const auto body = parse_json(reply.body);
  EXPECT_EQ(body->at("message"), "The sandbox is running but port is not open");
  EXPECT_EQ(body->at("port"), 8081);
}

TEST_F(ProxyTest, AUsersPortSeesTheMaskedHostAndNoTrafficToken) {
  auto known = sandbox("isb");
  known.traffic_token = "traffic";
  known.mask_request_host = "localhost:${PORT}";
  know(std::move(known));
  dial("isb", kBoot);
  ASSERT_TRUE(until([&] { return !said.empty(); }));
  EXPECT_EQ(get("/", {kId, {"E2b-Sandbox-Port", "8080"}}).head.status, 403);
  EXPECT_EQ(
      get("/", {kId, {"E2b-Sandbox-Port", "8080"}, {"e2b-traffic-access-token", "traffiC"}}).head.status,
      403);
  const auto seen = get("/x?y", {{"host", "8080-isb.example.com"}, {"e2b-traffic-access-token", "traffic"}});
  EXPECT_EQ(seen.head.status, 200);
  EXPECT_TRUE(seen.body.starts_with("GET /x?y HTTP/1.1\r\n"));
  EXPECT_NE(seen.body.find("Host: localhost:8080\r\n"), std::string::npos);
  EXPECT_NE(seen.body.find("x-forwarded-host: 8080-isb.example.com\r\n"), std::string::npos);
  EXPECT_NE(seen.body.find("x-forwarded-for: 127.0.0.1\r\n"), std::string::npos);
  EXPECT_EQ(seen.body.find("traffic-access"), std::string::npos);
}

TEST_F(ProxyTest, FindsTheSandboxOfASignedUrl) {
  know(sandbox("isb"));
  dial("isb", kBoot);
  ASSERT_TRUE(until([&] { return !said.empty(); }));
  SignedRequest asked{"", "a b.txt", "read", "", ""};
  std::string signature = sign(asked, "access");
  for (std::size_t at; (at = signature.find('+')) != signature.npos;) signature.replace(at, 1, "%2B");
  EXPECT_EQ(get("/files?path=a%20b.txt&signature=" + signature, {}).head.status, 200);
  EXPECT_EQ(get("/files?path=other.txt&signature=" + signature, {}).head.status, 502);
  EXPECT_EQ(get("/files?path=a%20b.txt&signature=" + signature, {}, "POST").head.status, 502);
  EXPECT_EQ(get("/files?path=a", {{"X-Access-Token", "access"}}).head.status, 200);
  EXPECT_EQ(get("/files?path=a", {{"X-Access-Token", "other"}}).head.status, 502);
}

TEST(Signature, IsE2bs) {
  // A vector that clients of E2B compute.
  const SignedRequest asked{"", "hello.txt", "read", "user", ""};
  EXPECT_EQ(sign(asked, "0tQG31xiMp0IOQfaz9dcwi72L1CPo8e0"),
            "v1_gUtH/s9YCJWgCizjfUxuWfhFE4QSydOWEIIvfLwDr6E");
}

TEST_F(ProxyTest, SignatureLookUpsAreBounded) {
  for (int i = 0; i < 1000; ++i) {
    auto one = sandbox("i" + std::to_string(i));
    one.access_token = "t" + std::to_string(i);
    registry->on_packet(std::move(one), UniqueFd());
  }
  const SignedRequest asked{"v1_x", "p", "read", "", ""};
  int answered = 0;
  while (answered < 1000 && registry->find_by_signature(asked).error().code == Errc::not_found) ++answered;
  EXPECT_EQ(answered, 200);
  clock.advance(1s);
  EXPECT_EQ(registry->find_by_signature(asked).error().code, Errc::not_found);
}

TEST_F(ProxyTest, WithoutTheApiRestIs503ThatMayBeRepeated) {
  const auto reply = get("/v2/sandboxes", {});
  EXPECT_EQ(reply.head.status, 503);
  EXPECT_EQ(reply.head.headers.get_or("retry-after", ""), "1");
  EXPECT_EQ(reply.head.headers.get_or("should-retry", ""), "true");
  EXPECT_EQ(parse_json(reply.body)->at("code"), 503);
}

TEST_F(ProxyTest, ANewListForgetsWhatEndedMeanwhileAndKeepsChannels) {
  know(sandbox("isb"));
  know(sandbox("isb"));
  dial("isb", kBoot);
  ASSERT_TRUE(until([&] { return !said.empty(); }));
  const auto channel = registry->find("isb")->channel;
  registry->on_node_lost();
  said.clear();
  know(sandbox("isb"));
  EXPECT_EQ(registry->find("isb")->channel, channel);
  EXPECT_EQ(said, std::vector<std::string>{ready_packet("isb")});
  know(sandbox("inew"));
  EXPECT_EQ(registry->find("isb"), nullptr);
  EXPECT_FALSE(channel->alive());
}

TEST(NodePacketTest, RefusesWhatIsNotOneOfFour) {
  EXPECT_EQ(parse_node_packet(R"({"type":"synced"})")->type, NodePacket::Type::synced);
  for (
      const char* bad :
      {"", "{}", R"({"type":"channel"})", R"({"type":"gone","id":"a-b"})", R"({"type":"ready","id":"a"})",
       R"({"type":"sandbox","id":"a","bootToken":"short","accessToken":"","trafficToken":"","maskRequestHost":""})"})
    EXPECT_FALSE(parse_node_packet(bad).ok()) << bad;
}

}  // namespace
}  // namespace atl::edge
