// HTTP/2 between both of our ends: many streams, resets, ends, bounds.
#include "base/wakeup.h"
#include "rpc/http2.h"
#include "rpc/testing/raw.h"

namespace atl::rpc {
namespace {

using testing::Loop;
using testing::socket_pair;

RequestHead request(std::string method, std::string target) {
  RequestHead head;
  head.method = std::move(method);
  head.target = std::move(target);
  head.authority = "test";
  return head;
}

struct Pair {
  explicit Pair(Handler handler, Http2Limits limits = {}) {
    auto [a, b] = socket_pair(loop.context);
    auto serve = [](Socket socket, Http2Limits bounds, Handler run, bool& over) -> Task<void> {
      co_await serve_http2(std::move(socket), bounds, std::move(run));
      over = true;
    };
    spawn(loop.context.get_executor(), "server", serve(std::move(a), limits, std::move(handler), served));
    client = http2_client(std::move(b), limits, [this] { ++ends; });
  }
  ~Pair() {
    if (client) client->close();
    settle();
    EXPECT_TRUE(served);
  }
  void settle() {
    loop.context.restart();
    loop.context.run_for(std::chrono::milliseconds(50));
  }
  bool served = false;
  int ends = 0;
  Loop loop;
  std::shared_ptr<Http2Client> client;
};

Task<void> echo(Exchange& exchange) {
  ReplyHead head;
  Status sent = co_await exchange.start(std::move(head));
  std::vector<char> buffer(64 * 1024);
  while (sent.ok()) {
    auto n = co_await exchange.body().read_some(buffer);
    if (!n.ok() || *n == 0) break;
    sent = co_await exchange.write({buffer.data(), *n});
  }
  if (sent.ok()) sent = co_await exchange.finish();
}

// Waits for what never comes, until the client goes.
struct Waiter {
  int running = 0, gone = 0;
  Task<void> handle(Exchange& exchange) {
    Wakeup wakeup(co_await asio::this_coro::executor);
    bool left = false;
    auto mark = [&] {
      left = true;
      wakeup.notify();
    };
    exchange.on_gone(mark);
    ++running;
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (!left && std::chrono::steady_clock::now() < until) co_await wakeup.wait_until(until);
    --running;
    if (left) ++gone;
  }
  Handler handler() {
    return [this](Exchange& exchange) { return handle(exchange); };
  }
};

Task<void> one_echo(Client& client, std::size_t size, int& good) {
  auto head = request("POST", "/");
  auto reply = co_await call(client, std::move(head), std::string(size, 'e'), 1 << 20, Millis(20'000));
  if (reply.ok() && reply->body.size() == size) ++good;
}

TEST(Http2, ManyStreamsAtOnceBesideStoppedReaders) {
  Pair pair(echo);
  int good = 0;
  auto work = [](Http2Client& client, int& count) -> Task<void> {
    // More than the connection's window in all: what they hold must not stop the others.
    std::vector<std::unique_ptr<ClientExchange>> stuck;
    auto executor = co_await asio::this_coro::executor;
    for (int i = 0; i < 20; ++i) {
      auto head = request("POST", "/");
      auto opened = co_await client.open(std::move(head), true);
      EXPECT_TRUE(opened.ok());
      stuck.push_back(std::move(*opened));
      auto fill = [](ClientExchange* to) -> Task<void> {
        const std::string bytes(1 << 20, 's');
        for (;;) {
          const Status written = co_await to->write(bytes);
          if (!written.ok()) co_return;
        }
      };
      spawn(executor, "fill", fill(stuck.back().get()));
    }
    co_await sleep_for(Millis(50));
    for (int i = 0; i < 200; ++i) spawn(executor, "echo", one_echo(client, 10'000, count));
    for (int i = 0; i < 4000 && count < 200; ++i) co_await sleep_for(Millis(5));
    EXPECT_EQ(count, 200);
    for (auto& exchange : stuck) exchange->cancel();
    co_await sleep_for(Millis(20));
    // The windows they held came back.
    int after = 0;
    co_await one_echo(client, 1 << 20, after);
    EXPECT_EQ(after, 1);
  };
  pair.loop.run(work(*pair.client, good));
}

TEST(Http2, ALongStreamThatIsNeverReadEmptyNeedsBoundedMemory) {
  Pair pair(echo);
  auto work = [](Http2Client& client) -> Task<void> {
    auto head = request("POST", "/");
    auto opened = co_await client.open(std::move(head), true);
    EXPECT_TRUE(opened.ok());
    auto send = [](ClientExchange* to) -> Task<void> {
      const std::string bytes(300'001, 's');
      for (int i = 0; i < 400; ++i) {
        const Status written = co_await to->write(bytes);
        EXPECT_TRUE(written.ok());
      }
      const Status finished = co_await to->finish_body();
      EXPECT_TRUE(finished.ok());
    };
    spawn(co_await asio::this_coro::executor, "send", send(opened->get()));
    std::vector<char> buffer(7'777);
    std::uint64_t total = 0;
    for (;;) {
      auto n = co_await (*opened)->read_some(buffer);
      EXPECT_TRUE(n.ok());
      if (!n.ok() || *n == 0) break;
      total += *n;
    }
    EXPECT_EQ(total, 400u * 300'001u);
  };
  pair.loop.run(work(*pair.client));
}

TEST(Http2, CancelAndDestructionReachTheHandlerAndWakeWaitingReads) {
  Waiter waiter;
  Pair pair(waiter.handler());
  auto work = [](Http2Client& client, Waiter& handlers) -> Task<void> {
    std::unique_ptr<ClientExchange> open[2];
    for (auto& exchange : open) {
      auto head = request("GET", "/");
      auto opened = co_await client.open(std::move(head), false);
      EXPECT_TRUE(opened.ok());
      exchange = std::move(*opened);
    }
    for (int i = 0; i < 1000 && handlers.running < 2; ++i) co_await sleep_for(Millis(2));
    auto later = [](ClientExchange* which) -> Task<void> {
      co_await sleep_for(Millis(5));
      which->cancel();
    };
    spawn(co_await asio::this_coro::executor, "cancel", later(open[0].get()));
    auto reply = co_await open[0]->head();
    EXPECT_FALSE(reply.ok());
    const Status written = co_await open[0]->write("x");
    EXPECT_FALSE(written.ok());
    open[1].reset();
    for (int i = 0; i < 1000 && handlers.gone < 2; ++i) co_await sleep_for(Millis(2));
    EXPECT_EQ(handlers.gone, 2);
    EXPECT_TRUE(client.alive());
  };
  pair.loop.run(work(*pair.client, waiter));
}

TEST(Http2, AHandlerThatBreaksOffResetsItsStreamOnly) {
  auto handler = [](Exchange& exchange) -> Task<void> {
    if (exchange.request().target == "/whole") co_return co_await echo(exchange);
    ReplyHead head;
    const Status begun = co_await exchange.start(std::move(head));
    EXPECT_TRUE(begun.ok());
    const Status sent = co_await exchange.write("part");
    EXPECT_TRUE(sent.ok());
    throw std::runtime_error("broken half-way");
  };
  Pair pair(handler);
  auto work = [](Http2Client& client) -> Task<void> {
    auto head = request("GET", "/part");
    auto opened = co_await client.open(std::move(head), false);
    EXPECT_TRUE(opened.ok());
    auto body = co_await read_all(**opened, 100);
    EXPECT_FALSE(body.ok());
    int good = 0;
    auto whole = request("POST", "/whole");
    auto reply = co_await call(client, std::move(whole), "abc", 100, Millis(5000));
    if (reply.ok() && reply->body == "abc") ++good;
    EXPECT_EQ(good, 1);
  };
  pair.loop.run(work(*pair.client));
}

TEST(Http2, AReplyBeforeTheEndOfTheRequestIsWhole) {
  auto handler = [](Exchange& exchange) -> Task<void> {
    ReplyHead head;
    head.status = 413;
    const Status sent = co_await exchange.reply(std::move(head), "too much");
    EXPECT_TRUE(sent.ok());
  };
  Pair pair(handler);
  auto work = [](Http2Client& client) -> Task<void> {
    for (int i = 0; i < 5; ++i) {
      auto head = request("POST", "/");
      auto reply = co_await call(client, std::move(head), std::string(5 << 20, 'x'), 100, Millis(5000));
      EXPECT_TRUE(reply.ok()) << (reply.ok() ? "" : reply.error().message);
      if (reply.ok()) EXPECT_EQ(reply->body, "too much");
    }
  };
  pair.loop.run(work(*pair.client));
}

TEST(Http2, BodilessRepliesAndHead) {
  auto handler = [](Exchange& exchange) -> Task<void> {
    ReplyHead head;
    head.status = exchange.request().target == "/204" ? 204 : 200;
    head.content_length = exchange.request().method == "HEAD" ? 77 : 0;
    Status sent = co_await exchange.start(std::move(head));
    EXPECT_TRUE(sent.ok());
    sent = co_await exchange.finish();
    EXPECT_TRUE(sent.ok());
  };
  Pair pair(handler);
  auto work = [](Http2Client& client) -> Task<void> {
    for (const char* target : {"/204", "/200", "/head"}) {
      const bool head_only = std::string_view(target) == "/head";
      auto head = request(head_only ? "HEAD" : "GET", target);
      auto reply = co_await call(client, std::move(head), "", 100, Millis(5000));
      EXPECT_TRUE(reply.ok()) << target << (reply.ok() ? "" : reply.error().message);
      if (!reply.ok()) continue;
      EXPECT_EQ(reply->body, "");
      if (head_only) EXPECT_EQ(reply->head.content_length, 77u);
    }
  };
  pair.loop.run(work(*pair.client));
}

TEST(Http2, LengthsAreKept) {
  auto handler = [](Exchange& exchange) -> Task<void> {
    ReplyHead head;
    head.content_length = 4;
    const Status begun = co_await exchange.start(std::move(head));
    EXPECT_TRUE(begun.ok());
    const bool over = exchange.request().target == "/over";
    const Status sent = co_await exchange.write(over ? "12345" : "123");
    EXPECT_EQ(sent.ok(), !over);
    const Status finished = co_await exchange.finish();
    EXPECT_FALSE(finished.ok());
  };
  Pair pair(handler);
  auto work = [](Http2Client& client) -> Task<void> {
    for (const char* target : {"/over", "/under"}) {
      auto head = request("GET", target);
      auto reply = co_await call(client, std::move(head), "", 100, Millis(5000));
      EXPECT_FALSE(reply.ok()) << target;
    }
  };
  pair.loop.run(work(*pair.client));
}

TEST(Http2, FieldsThatWouldBreakAHeadAreRefusedAtBothEnds) {
  auto handler = [](Exchange& exchange) -> Task<void> {
    EXPECT_FALSE(exchange.request().headers.get("connection").has_value());
    ReplyHead head;
    head.headers.add("x", std::string("a\r\nb"));
    const Status sent = co_await exchange.reply(std::move(head), "body");
    EXPECT_FALSE(sent.ok());
  };
  Pair pair(handler);
  auto work = [](Http2Client& client) -> Task<void> {
    auto bad = request("GET", "/");
    bad.headers.add("x", std::string("a\0b", 3));
    auto refused = co_await client.open(std::move(bad), false);
    EXPECT_FALSE(refused.ok());
    auto head = request("GET", "/");
    head.headers.add("Connection", "close");
    auto reply = co_await call(client, std::move(head), "", 100, Millis(5000));
    EXPECT_TRUE(reply.ok());
    if (reply.ok()) EXPECT_EQ(reply->head.status, 500);
  };
  pair.loop.run(work(*pair.client));
}

TEST(Http2, TooLargeHeadsAndTooManyStreams) {
  Waiter waiter;
  Pair pair(waiter.handler(), {.streams_max = 4, .head_bytes_max = 8 * 1024});
  auto work = [](Http2Client& client) -> Task<void> {
    auto large = request("GET", "/");
    large.headers.add("x", std::string(10'000, 'x'));
    auto reply = co_await call(client, std::move(large), "", 100, Millis(5000));
    EXPECT_FALSE(reply.ok());
    std::vector<std::unique_ptr<ClientExchange>> open;
    for (int i = 0; i < 4; ++i) {
      auto head = request("GET", "/");
      auto opened = co_await client.open(std::move(head), false);
      EXPECT_TRUE(opened.ok());
      if (opened.ok()) open.push_back(std::move(*opened));
    }
    auto head = request("GET", "/");
    auto fifth = co_await client.open(std::move(head), false);
    EXPECT_FALSE(fifth.ok());
    if (!fifth.ok()) EXPECT_EQ(fifth.error().code, Errc::exhausted);
  };
  pair.loop.run(work(*pair.client));
}

TEST(Http2, RapidResetsEndTheConnection) {
  Waiter waiter;
  Pair pair(waiter.handler(), {.resets_per_second_max = 50});
  auto work = [](Http2Client& client, int& ends) -> Task<void> {
    for (int i = 0; i < 500 && client.alive(); ++i) {
      auto head = request("GET", "/");
      auto opened = co_await client.open(std::move(head), false);
      if (!opened.ok()) break;
      co_await sleep_for(Millis(0));
      opened->reset();
      co_await sleep_for(Millis(0));
    }
    for (int i = 0; i < 500 && ends == 0; ++i) co_await sleep_for(Millis(2));
    EXPECT_FALSE(client.alive());
    EXPECT_EQ(ends, 1);
  };
  pair.loop.run(work(*pair.client, pair.ends));
}

// Each request to a user's port ends so on the agent's channel, which all else of the sandbox needs too.
TEST(Http2, AChannelSurvivesManyResets) {
  Waiter waiter;
  Pair pair(waiter.handler());
  auto work = [](Http2Client& client) -> Task<void> {
    for (int i = 0; i < 1000; ++i) {
      auto head = request("GET", "/");
      auto opened = co_await client.open(std::move(head), false);
      EXPECT_TRUE(opened.ok()) << i;
      if (!opened.ok()) co_return;
      co_await sleep_for(Millis(0));
      opened->reset();
      co_await sleep_for(Millis(0));
    }
    EXPECT_TRUE((co_await client.ping(Millis(5000))).ok());
  };
  pair.loop.run(work(*pair.client));
}

TEST(Http2, CloseWakesWaitersAndIsNoLoss) {
  Waiter waiter;
  Pair pair(waiter.handler());
  auto work = [](Http2Client& client) -> Task<void> {
    auto head = request("GET", "/");
    auto opened = co_await client.open(std::move(head), false);
    EXPECT_TRUE(opened.ok());
    auto later = [](Http2Client* which) -> Task<void> {
      co_await sleep_for(Millis(5));
      which->close();
    };
    spawn(co_await asio::this_coro::executor, "close", later(&client));
    auto reply = co_await (*opened)->head();
    EXPECT_FALSE(reply.ok());
    auto again = request("GET", "/");
    auto late = co_await client.open(std::move(again), false);
    EXPECT_FALSE(late.ok());
    const Status pong = co_await client.ping(Millis(100));
    EXPECT_FALSE(pong.ok());
  };
  pair.loop.run(work(*pair.client));
  pair.settle();
  EXPECT_EQ(pair.ends, 0);
  EXPECT_EQ(waiter.gone, 1);
}

TEST(Http2, APingToASilentPeerHasADeadline) {
  Loop loop;
  auto [a, b] = socket_pair(loop.context);
  auto client = http2_client(std::move(b), {}, [] {});
  auto work = [](Http2Client& to) -> Task<void> {
    const Status pong = co_await to.ping(Millis(30));
    EXPECT_FALSE(pong.ok());
    if (!pong.ok()) EXPECT_EQ(pong.error().code, Errc::deadline);
  };
  loop.run(work(*client));
}

TEST(Http2, GarbageEndsTheSession) {
  Loop loop;
  auto [a, b] = socket_pair(loop.context);
  bool over = false;
  auto serve = [](Socket socket, bool& done) -> Task<void> {
    co_await serve_http2(std::move(socket), {}, echo);
    done = true;
  };
  spawn(loop.context.get_executor(), "server", serve(std::move(a), over));
  auto work = [](Socket& socket) -> Task<void> {
    co_await testing::send_raw(socket, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    const std::string heard = co_await testing::receive_all(socket);
    EXPECT_EQ(heard.find("<timeout>"), std::string::npos);
  };
  loop.run(work(b));
  EXPECT_TRUE(over);
}

// A cancelled write must not look like a whole body.
TEST(Http2, ACancelledWriteNeverEndsTheBodyWell) {
  using namespace asio::experimental::awaitable_operators;
  bool whole = true;
  auto handler = [&whole](Exchange& exchange) -> Task<void> {
    co_await sleep_for(Millis(50));
    auto body = co_await read_all(exchange.body(), 64u << 20);
    whole = body.ok();
  };
  Pair pair(handler);
  auto work = [](Http2Client& client) -> Task<void> {
    auto head = request("POST", "/");
    auto opened = co_await client.open(std::move(head), true);
    EXPECT_TRUE(opened.ok());
    const std::string bytes(8 << 20, 'x');
    auto writing = (*opened)->write(bytes);
    auto waiting = sleep_for(Millis(5));
    co_await (std::move(writing) || std::move(waiting));
    const Status finished = co_await (*opened)->finish_body();
    EXPECT_FALSE(finished.ok());
    opened->reset();
    co_await sleep_for(Millis(100));
  };
  pair.loop.run(work(*pair.client));
  EXPECT_FALSE(whole);
}

}  // namespace
}  // namespace atl::rpc
