// Both protocols end to end, over socket pairs and loopback.
#include "base/wakeup.h"
#include "rpc/http1.h"
#include "rpc/testing/loop.h"

namespace atl::rpc {
namespace {

using testing::Loop;
using testing::socket_pair;

// Answers what tests ask for: /echo gives the body back as it comes, /length its size, /stream N bytes,
// /wait stays until the client goes, /throw fails.
struct Backend {
  int gone = 0;
  int waiting = 0;

  Task<void> handle(Exchange& exchange) {
    const std::string target = exchange.request().target;
    if (exchange.request().method == "CONNECT") co_return co_await tunnel(exchange);
    if (target == "/echo") co_return co_await echo(exchange);
    if (target == "/throw") throw std::runtime_error("broken handler");
    if (target == "/wait") co_return co_await wait(exchange);
    if (target.starts_with("/stream/")) co_return co_await stream(exchange, std::stoull(target.substr(8)));
    if (target == "/empty") {
      ReplyHead head{.status = 204};
      const Status sent = co_await exchange.reply(std::move(head), "");
      EXPECT_TRUE(sent.ok());
      co_return;
    }
    auto body = co_await read_all(exchange.body(), 1u << 30);
    ReplyHead head;
    const Status sent =
        co_await exchange.reply(std::move(head), body.ok() ? std::to_string(body->size()) : "error");
    (void)sent.ok();
  }

  Task<void> echo(Exchange& exchange) {
    ReplyHead head;
    head.headers.add("x-echo", "yes");
    Status sent = co_await exchange.start(std::move(head));
    std::vector<char> buffer(128 * 1024);
    while (sent.ok()) {
      auto n = co_await exchange.body().read_some(buffer);
      if (!n.ok() || *n == 0) break;
      sent = co_await exchange.write({buffer.data(), *n});
    }
    if (sent.ok()) sent = co_await exchange.finish();
  }

  Task<void> stream(Exchange& exchange, std::size_t count) {
    ReplyHead head{.status = 200, .content_length = count};
    Status sent = co_await exchange.start(std::move(head));
    const std::string piece(256 * 1024, 'x');
    for (std::size_t left = count; sent.ok() && left > 0; left -= std::min(left, piece.size()))
      sent = co_await exchange.write(std::string_view(piece).substr(0, std::min(left, piece.size())));
    if (sent.ok()) sent = co_await exchange.finish();
  }

  Task<void> wait(Exchange& exchange) {
    Wakeup wakeup(co_await asio::this_coro::executor);
    bool left = false;
    auto mark = [&] {
      left = true;
      wakeup.notify();
    };
    exchange.on_gone(mark);
    ReplyHead head;
    const Status sent = co_await exchange.start(std::move(head));
    EXPECT_TRUE(sent.ok());
    ++waiting;
    while (!left) co_await wakeup.wait();
    ++gone;
  }

  Task<void> tunnel(Exchange& exchange) {
    ReplyHead head;
    auto raw = co_await exchange.tunnel(std::move(head));
    if (!raw.ok()) co_return;
    std::vector<char> buffer(4096);
    std::string all;
    for (;;) {
      auto n = co_await (*raw)->read_some(buffer);
      if (!n.ok() || *n == 0) break;
      all.append(buffer.data(), *n);
    }
    const std::string answer = "[" + all + "]";
    const Status sent = co_await (*raw)->write(answer);
    EXPECT_TRUE(sent.ok());
    const Status finished = co_await (*raw)->finish();
    EXPECT_TRUE(finished.ok());
  }

  Handler handler() {
    return [this](Exchange& exchange) { return handle(exchange); };
  }
};

RequestHead request(std::string method, std::string target) {
  RequestHead head;
  head.method = std::move(method);
  head.target = std::move(target);
  head.authority = "test";
  return head;
}

// One suite for both protocols.
class Protocol : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    if (GetParam()) {
      auto [a, b] = socket_pair(loop_.context);
      spawn(loop_.context.get_executor(), "server", serve_http2(std::move(a), {}, backend_.handler()));
      h2_ = http2_client(std::move(b), {}, [this] { ++ended_; });
      client_ = h2_.get();
    } else {
      server_.emplace(loop_.context.get_executor(), Http1Limits{}, backend_.handler());
      auto port = server_->listen_tcp("127.0.0.1", 0);
      ASSERT_TRUE(port.ok());
      h1_ = http1_client(loop_.context.get_executor(), {.host = "127.0.0.1", .port = *port}, 8, Millis(2000));
      client_ = h1_.get();
    }
  }
  void TearDown() override {
    h2_.reset();
    h1_.reset();
    server_.reset();
    loop_.context.restart();
    loop_.context.run_for(std::chrono::milliseconds(50));
  }

  Loop loop_;
  Backend backend_;
  std::optional<Http1Server> server_;
  std::shared_ptr<Http2Client> h2_;
  std::unique_ptr<Client> h1_;
  Client* client_ = nullptr;
  int ended_ = 0;
};

INSTANTIATE_TEST_SUITE_P(Rpc, Protocol, ::testing::Values(false, true),
                         [](const auto& info) { return info.param ? "Http2" : "Http1"; });

TEST_P(Protocol, WholeCalls) {
  auto work = [](Client& client) -> Task<void> {
    for (std::size_t size : {0ul, 1ul, 100'000ul, 5'000'000ul}) {
      std::string body(size, 'b');
      auto head = request("POST", "/length");
      auto reply = co_await call(client, std::move(head), std::move(body), 1000, Millis(10000));
      EXPECT_TRUE(reply.ok()) << (reply.ok() ? "" : reply.error().message);
      if (reply.ok()) EXPECT_EQ(reply->body, std::to_string(size));
    }
    auto empty = request("GET", "/empty");
    auto reply = co_await call(client, std::move(empty), "", 1000, Millis(10000));
    EXPECT_TRUE(reply.ok());
    if (reply.ok()) EXPECT_EQ(reply->head.status, 204);
  };
  loop_.run(work(*client_));
}

TEST_P(Protocol, AThrowingHandlerIsA500AndTheServerGoesOn) {
  auto work = [](Client& client) -> Task<void> {
    for (int i = 0; i < 2; ++i) {
      auto head = request("GET", "/throw");
      auto reply = co_await call(client, std::move(head), "", 1000, Millis(5000));
      EXPECT_TRUE(reply.ok());
      if (reply.ok()) EXPECT_EQ(reply->head.status, 500);
    }
  };
  loop_.run(work(*client_));
}

TEST_P(Protocol, EchoesWhileTheRequestIsStillBeingSent) {
  auto work = [](Client& client) -> Task<void> {
    auto head = request("POST", "/echo");
    auto opened = co_await client.open(std::move(head), true);
    EXPECT_TRUE(opened.ok());
    auto& exchange = **opened;
    const Status first = co_await exchange.write("hello ");
    EXPECT_TRUE(first.ok());
    auto reply = co_await exchange.head();
    EXPECT_TRUE(reply.ok());
    if (reply.ok()) EXPECT_EQ(reply->headers.get_or("X-Echo", ""), "yes");
    char buffer[64];
    auto n = co_await exchange.read_some(buffer);
    EXPECT_TRUE(n.ok());
    if (n.ok()) EXPECT_EQ(std::string_view(buffer, *n), "hello ");
    const Status second = co_await exchange.write("world");
    EXPECT_TRUE(second.ok());
    const Status finished = co_await exchange.finish_body();
    EXPECT_TRUE(finished.ok());
    auto rest = co_await read_all(exchange, 1000);
    EXPECT_TRUE(rest.ok());
    if (rest.ok()) EXPECT_EQ(*rest, "world");
  };
  loop_.run(work(*client_));
}

TEST_P(Protocol, ManyBytesBothWays) {
  auto work = [](Client& client) -> Task<void> {
    constexpr std::size_t kTotal = 64u << 20;
    auto head = request("POST", "/echo");
    auto opened = co_await client.open(std::move(head), true);
    EXPECT_TRUE(opened.ok());
    auto* exchange = opened->get();
    auto send = [](ClientExchange* to) -> Task<void> {
      const std::string piece(1u << 20, 's');
      for (std::size_t sent = 0; sent < kTotal; sent += piece.size()) {
        const Status written = co_await to->write(piece);
        EXPECT_TRUE(written.ok());
      }
      const Status finished = co_await to->finish_body();
      EXPECT_TRUE(finished.ok());
    };
    auto executor = co_await asio::this_coro::executor;
    spawn(executor, "sender", send(exchange));
    std::vector<char> buffer(256 * 1024);
    std::size_t total = 0;
    for (;;) {
      auto n = co_await exchange->read_some(buffer);
      EXPECT_TRUE(n.ok());
      if (!n.ok() || *n == 0) break;
      total += *n;
    }
    EXPECT_EQ(total, kTotal);
  };
  loop_.run(work(*client_));
}

TEST_P(Protocol, AClientThatLeavesIsNoticedByAWaitingHandler) {
  auto work = [](Client& client, Backend& backend) -> Task<void> {
    auto head = request("GET", "/wait");
    auto opened = co_await client.open(std::move(head), false);
    EXPECT_TRUE(opened.ok());
    auto reply = co_await (*opened)->head();
    EXPECT_TRUE(reply.ok());
    opened->reset();
    for (int i = 0; i < 200 && backend.gone == 0; ++i) co_await sleep_for(Millis(5));
    EXPECT_EQ(backend.gone, 1);
  };
  loop_.run(work(*client_, backend_));
}

TEST_P(Protocol, AReaderThatStopsHoldsUpNobodyElse) {
  auto work = [](Client& client) -> Task<void> {
    std::vector<std::unique_ptr<ClientExchange>> stuck;
    for (int i = 0; i < 5; ++i) {
      auto head = request("GET", "/stream/50000000");
      auto opened = co_await client.open(std::move(head), false);
      EXPECT_TRUE(opened.ok());
      stuck.push_back(std::move(*opened));
    }
    for (int i = 0; i < 100; ++i) {
      auto head = request("POST", "/length");
      auto reply = co_await call(client, std::move(head), std::string(1000, 'x'), 1000, Millis(5000));
      EXPECT_TRUE(reply.ok());
    }
    for (auto& exchange : stuck) {
      std::vector<char> buffer(256 * 1024);
      std::size_t total = 0;
      for (;;) {
        auto n = co_await exchange->read_some(buffer);
        EXPECT_TRUE(n.ok());
        if (!n.ok() || *n == 0) break;
        total += *n;
      }
      EXPECT_EQ(total, 50'000'000u);
    }
  };
  loop_.run(work(*client_));
}

TEST(Http2, ATunnelClosesEachWayByItself) {
  Loop loop;
  Backend backend;
  auto [a, b] = socket_pair(loop.context);
  spawn(loop.context.get_executor(), "server", serve_http2(std::move(a), {}, backend.handler()));
  auto client = http2_client(std::move(b), {}, [] {});
  auto work = [](Http2Client& to) -> Task<void> {
    auto head = request("CONNECT", "");
    head.authority = "127.0.0.1:80";
    auto opened = co_await to.open(std::move(head), true);
    EXPECT_TRUE(opened.ok());
    auto& exchange = **opened;
    auto reply = co_await exchange.head();
    EXPECT_TRUE(reply.ok());
    const Status written = co_await exchange.write("abc");
    EXPECT_TRUE(written.ok());
    const Status finished = co_await exchange.finish_body();
    EXPECT_TRUE(finished.ok());
    auto rest = co_await read_all(exchange, 100);
    EXPECT_TRUE(rest.ok());
    if (rest.ok()) EXPECT_EQ(*rest, "[abc]");
    const Status pong = co_await to.ping(Millis(1000));
    EXPECT_TRUE(pong.ok());
  };
  loop.run(work(*client));
}

TEST(Http2, ALostConnectionWakesEverybody) {
  Loop loop;
  auto [a, b] = socket_pair(loop.context);
  bool ended = false;
  auto client = http2_client(std::move(b), {}, [&] { ended = true; });
  auto work = [](Http2Client& to, Socket peer) -> Task<void> {
    auto head = request("GET", "/wait");
    auto opened = co_await to.open(std::move(head), false);
    EXPECT_TRUE(opened.ok());
    peer.close();
    auto reply = co_await (*opened)->head();
    EXPECT_FALSE(reply.ok());
    if (!reply.ok()) EXPECT_EQ(reply.error().code, Errc::unavailable);
    EXPECT_FALSE(to.alive());
  };
  loop.run(work(*client, std::move(a)));
  loop.context.restart();
  loop.context.run_for(std::chrono::milliseconds(20));
  EXPECT_TRUE(ended);
}

}  // namespace
}  // namespace atl::rpc
