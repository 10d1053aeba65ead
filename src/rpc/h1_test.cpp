// HTTP/1.1 as raw peers see it: the server's manners, the client's pool, upgrades.
#include <sys/stat.h>
#include <unistd.h>

#include "base/wakeup.h"
#include "rpc/http1.h"
#include "rpc/testing/raw.h"

namespace atl::rpc {
namespace {

using testing::Loop;
using testing::receive_all;
using testing::receive_until;
using testing::send_raw;
using testing::socket_pair;

RequestHead request(std::string method, std::string target) {
  RequestHead head;
  head.method = std::move(method);
  head.target = std::move(target);
  head.authority = "test";
  return head;
}

ReplyHead status(int code) {
  ReplyHead head;
  head.status = code;
  return head;
}

// A server with one raw client beside it.
struct Server {
  explicit Server(Handler handler, Http1Limits limits = {})
      : server(loop.context.get_executor(), limits, std::move(handler)) {
    auto [a, b] = socket_pair(loop.context);
    near.emplace(std::move(a));
    server.serve(std::move(b));
  }
  ~Server() {
    near.reset();
    settle();
  }
  void settle() {
    loop.context.restart();
    loop.context.run_for(std::chrono::milliseconds(20));
  }
  std::string until_closed(std::string bytes) {
    std::string heard;
    auto work = [](Socket& socket, std::string text, std::string& out) -> Task<void> {
      co_await send_raw(socket, std::move(text));
      out = co_await receive_all(socket);
    };
    loop.run(work(*near, std::move(bytes), heard));
    return heard;
  }
  Loop loop;
  Http1Server server;
  std::optional<Socket> near;
};

const std::string kGet = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

TEST(H1Server, RepliesWithoutABodyHaveTheirLengthOrNone) {
  auto handler = [](int code) {
    return [code](Exchange& exchange) -> Task<void> {
      const Status sent = co_await exchange.reply(status(code), "");
      EXPECT_TRUE(sent.ok());
    };
  };
  EXPECT_EQ(Server(handler(200)).until_closed(kGet),
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(Server(handler(204)).until_closed(kGet), "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(Server(handler(304)).until_closed(kGet),
            "HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n");
}

TEST(H1Server, HeadHasTheLengthButNoBody) {
  auto handler = [](Exchange& exchange) -> Task<void> {
    const Status sent = co_await exchange.reply(status(200), "12345");
    EXPECT_TRUE(sent.ok());
  };
  EXPECT_EQ(Server(handler).until_closed("HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n");
}

TEST(H1Server, AHeadIsWithoutWhatBelongsToTheConnection) {
  auto handler = [](Exchange& exchange) -> Task<void> {
    std::string names;
    for (const auto& [name, value] : exchange.request().headers.all()) names += name + ",";
    const std::string text = exchange.request().authority + ";" + names;
    const Status sent = co_await exchange.reply(status(200), text);
    EXPECT_TRUE(sent.ok());
  };
  const std::string heard = Server(handler).until_closed(
      "GET / HTTP/1.1\r\nHost: a:1\r\nConnection: close, keep-alive\r\nKeep-Alive: 5\r\nTE: trailers\r\n"
      "Proxy-Authorization: x\r\nX-Mine: 1\r\n\r\n");
  EXPECT_TRUE(heard.ends_with("\r\n\r\na:1;X-Mine,")) << heard;
}

TEST(H1Server, AReplyCannotBeSplit) {
  for (const bool in_name : {false, true}) {
    auto handler = [in_name](Exchange& exchange) -> Task<void> {
      ReplyHead head;
      if (in_name)
        head.headers.add("x\r\ny", "1");
      else
        head.headers.add("x", std::string("a\r\nSet-Cookie: b"));
      const Status sent = co_await exchange.reply(std::move(head), "");
      EXPECT_FALSE(sent.ok());
    };
    const std::string heard = Server(handler).until_closed(kGet);
    EXPECT_TRUE(heard.starts_with("HTTP/1.1 500 ")) << heard;
    EXPECT_EQ(heard.find("Set-Cookie"), std::string::npos);
  }
}

TEST(H1Server, ContinueIsSentWhenTheBodyIsWanted) {
  auto handler = [](Exchange& exchange) -> Task<void> {
    if (exchange.request().target == "/no") {
      const Status refused = co_await exchange.reply(status(403), "");
      EXPECT_TRUE(refused.ok());
      co_return;
    }
    auto body = co_await read_all(exchange.body(), 100);
    EXPECT_TRUE(body.ok());
    const Status sent = co_await exchange.reply(status(200), body.ok() ? *body : "");
    EXPECT_TRUE(sent.ok());
  };
  Server wanted(handler);
  auto work = [](Socket& socket) -> Task<void> {
    co_await send_raw(socket,
                      "POST /yes HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
    const std::string go = co_await receive_until(socket, "\r\n\r\n");
    EXPECT_EQ(go, "HTTP/1.1 100 Continue\r\n\r\n");
    co_await send_raw(socket, "body");
    const std::string reply = co_await receive_until(socket, "\r\n\r\nbody");
    EXPECT_TRUE(reply.starts_with("HTTP/1.1 200 ")) << reply;
    EXPECT_EQ(reply.find("close"), std::string::npos);
  };
  wanted.loop.run(work(*wanted.near));
  const std::string refused = Server(handler).until_closed(
      "POST /no HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
  EXPECT_TRUE(refused.starts_with("HTTP/1.1 403 ")) << refused;
  EXPECT_NE(refused.find("Connection: close"), std::string::npos);
}

TEST(H1Server, AnEarlyReplyReachesASenderThatDoesNotReadYet) {
  auto handler = [](Exchange& exchange) -> Task<void> {
    const Status sent = co_await exchange.reply(status(413), "too much");
    EXPECT_TRUE(sent.ok());
  };
  const std::string heard = Server(handler).until_closed(
      "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 30000000\r\n\r\n" + std::string(30'000'000, 'x'));
  EXPECT_TRUE(heard.ends_with("too much")) << heard;
}

TEST(H1Server, AShortUnreadBodyKeepsTheConnection) {
  auto handler = [](Exchange& exchange) -> Task<void> {
    const Status sent = co_await exchange.reply(status(200), exchange.request().target);
    EXPECT_TRUE(sent.ok());
  };
  const std::string heard = Server(handler).until_closed(
      "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n" + std::string(1000, 'x') + kGet);
  EXPECT_NE(heard.find("/1HTTP/1.1 200 OK"), std::string::npos) << heard;
}

TEST(H1Server, ACutReplyIsSeenAsCut) {
  auto handler = [](Exchange& exchange) -> Task<void> {
    const Status begun = co_await exchange.start(status(200));
    EXPECT_TRUE(begun.ok());
    const Status sent = co_await exchange.write("part");
    EXPECT_TRUE(sent.ok());
    throw std::runtime_error("broken half-way");
  };
  const std::string heard = Server(handler).until_closed("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_TRUE(heard.ends_with("4\r\npart\r\n")) << heard;
}

TEST(H1Server, BodiesOfAWrongLengthAreNotFinished) {
  auto handler = [](Exchange& exchange) -> Task<void> {
    ReplyHead head;
    head.content_length = 4;
    const Status begun = co_await exchange.start(std::move(head));
    EXPECT_TRUE(begun.ok());
    const Status more = co_await exchange.write("12345");
    EXPECT_FALSE(more.ok());
    const Status less = co_await exchange.finish();
    EXPECT_FALSE(less.ok());
  };
  EXPECT_TRUE(Server(handler).until_closed("GET / HTTP/1.1\r\nHost: a\r\n\r\n").ends_with("\r\n\r\n"));
}

TEST(H1Server, TooManyConnectionsAreToldSo) {
  auto handler = [](Exchange& exchange) -> Task<void> {
    const Status sent = co_await exchange.reply(status(200), "");
    EXPECT_TRUE(sent.ok());
  };
  Server server(handler, {.connections_max = 1});
  auto [near, far] = socket_pair(server.loop.context);
  server.server.serve(std::move(far));
  std::string heard;
  auto work = [](Socket& socket, std::string& out) -> Task<void> {
    co_await send_raw(socket, kGet);
    out = co_await receive_all(socket);
  };
  server.loop.run(work(near, heard));
  EXPECT_TRUE(heard.starts_with("HTTP/1.1 503 ")) << heard;
  EXPECT_NE(heard.find("all of its 1 connections"), std::string::npos);
}

// Waits until the client is gone, then counts.
struct Waiter {
  int gone = 0;
  bool body_first = false;

  Task<void> handle(Exchange& exchange) {
    Wakeup wakeup(co_await asio::this_coro::executor);
    bool left = false;
    auto mark = [&] {
      left = true;
      wakeup.notify();
    };
    exchange.on_gone(mark);
    if (body_first) {
      auto body = co_await read_all(exchange.body(), 100);
      EXPECT_TRUE(body.ok());
    }
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(5);
    while (!left && std::chrono::steady_clock::now() < until) co_await wakeup.wait_until(until);
    EXPECT_TRUE(left);
    EXPECT_TRUE(exchange.gone());
    ++gone;
  }
};

TEST(H1Server, AWaitingHandlerLearnsThatTheClientLeft) {
  for (const bool with_body : {false, true}) {
    Waiter waiter{.gone = 0, .body_first = with_body};
    Server server([&waiter](Exchange& exchange) { return waiter.handle(exchange); });
    auto work = [](Server& it, bool body, Waiter& counter) -> Task<void> {
      co_await send_raw(*it.near, body ? "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody"
                                       : "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
      co_await sleep_for(Millis(1));
      it.near->close();
      for (int i = 0; i < 1000 && counter.gone == 0; ++i) co_await sleep_for(Millis(2));
    };
    server.loop.run(work(server, with_body, waiter));
    EXPECT_EQ(waiter.gone, 1);
  }
}

TEST(H1Server, EarlyBytesOfTheNextRequestAreKeptWhileOneWaitsForTheClientsEnd) {
  auto handler = [](Exchange& exchange) -> Task<void> {
    exchange.on_gone([] {});
    co_await sleep_for(Millis(20));
    const Status sent = co_await exchange.reply(status(200), exchange.request().target + ";");
    EXPECT_TRUE(sent.ok());
  };
  Server server(handler);
  std::string heard;
  auto work = [](Socket& socket, std::string& out) -> Task<void> {
    co_await send_raw(socket, "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n");
    co_await sleep_for(Millis(5));
    co_await send_raw(socket, "GET /2 HTT");
    co_await sleep_for(Millis(5));
    co_await send_raw(socket, "P/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    out = co_await receive_all(socket);
  };
  server.loop.run(work(*server.near, heard));
  EXPECT_NE(heard.find("/1;"), std::string::npos) << heard;
  EXPECT_NE(heard.find("/2;"), std::string::npos) << heard;
}

// Upper case until the client's end, then its own.
Task<void> shout(Exchange& exchange) {
  exchange.on_gone([] {});
  EXPECT_EQ(exchange.request().upgrade, "shout");
  auto raw = co_await exchange.tunnel(status(101));
  EXPECT_TRUE(raw.ok());
  if (!raw.ok()) co_return;
  char buffer[64];
  for (;;) {
    auto n = co_await (*raw)->read_some(buffer);
    if (!n.ok() || *n == 0) break;
    std::string text(buffer, *n);
    for (char& c : text) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    const Status sent = co_await (*raw)->write(text);
    EXPECT_TRUE(sent.ok());
  }
  const Status last = co_await (*raw)->write("BYE");
  EXPECT_TRUE(last.ok());
  const Status finished = co_await (*raw)->finish();
  EXPECT_TRUE(finished.ok());
}

TEST(H1Server, AnUpgradedConnectionCarriesRawBytes) {
  Server server(shout);
  auto work = [](Socket& socket) -> Task<void> {
    co_await send_raw(socket,
                      "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: Shout\r\n\r\nearly");
    const std::string head = co_await receive_until(socket, "EARLY");
    EXPECT_EQ(head, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: shout\r\n\r\nEARLY");
    for (const char* word : {"one", "two", "three"}) {
      co_await send_raw(socket, word);
      std::string loud = word;
      for (char& c : loud) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
      const std::string heard = co_await receive_until(socket, loud);
      EXPECT_EQ(heard, loud);
    }
    socket.shutdown(Socket::shutdown_send);
    const std::string rest = co_await receive_all(socket);
    EXPECT_EQ(rest, "BYE");
  };
  server.loop.run(work(*server.near));
}

class Unix : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/atoll-rpc-XXXXXX";
    folder_ = ::mkdtemp(name);
    path_ = folder_ + "/s";
  }
  void TearDown() override {
    ::unlink(path_.c_str());
    ::rmdir(folder_.c_str());
  }
  std::unique_ptr<Client> client() {
    return http1_client(loop_.context.get_executor(), {.unix_path = path_}, 4, Millis(1000));
  }
  Loop loop_;
  std::string folder_, path_;
};

Task<void> hello(Exchange& exchange) {
  const Status sent = co_await exchange.reply(status(200), "hello " + exchange.request().target);
  (void)sent.ok();
}

Task<void> expect_hello(Client& client, bool good) {
  auto head = request("GET", "/x");
  auto reply = co_await call(client, std::move(head), "", 100, Millis(3000));
  EXPECT_EQ(reply.ok(), good) << (reply.ok() ? "" : reply.error().message);
  if (reply.ok()) EXPECT_EQ(reply->body, "hello /x");
}

TEST_F(Unix, AKeptConnectionThatTheServerClosedIsReplaced) {
  auto to = client();
  for (int i = 0; i < 3; ++i) {
    Http1Server server(loop_.context.get_executor(), {}, hello);
    ASSERT_TRUE(server.listen_unix(path_, 0600).ok());
    struct stat info{};
    ASSERT_EQ(::stat(path_.c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 07777, 0600u);
    loop_.run(expect_hello(*to, true));
    loop_.run(expect_hello(*to, true));
    auto stop = [](Http1Server& it) -> Task<void> { co_await it.stop(Millis(1000)); };
    loop_.run(stop(server));
  }
  loop_.run(expect_hello(*to, false));
}

// A server that takes one request on its first connection and closes it at the second's head.
TEST_F(Unix, ARequestOnADyingKeptConnectionIsSentAgainOnce) {
  asio::local::stream_protocol::acceptor acceptor(loop_.context,
                                                  asio::local::stream_protocol::endpoint(path_));
  auto to = client();
  auto serve = [](asio::local::stream_protocol::acceptor& from) -> Task<void> {
    for (int i = 0; i < 2; ++i) {
      auto plain = co_await from.async_accept(asio::use_awaitable);
      Socket socket(std::move(plain));
      const std::string head = co_await receive_until(socket, "\r\n\r\n");
      EXPECT_TRUE(head.starts_with("GET /x ")) << head;
      co_await send_raw(socket, "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhello /x");
      if (i == 0) co_await receive_until(socket, "\r\n\r\n");
    }
  };
  spawn(loop_.context.get_executor(), "server", serve(acceptor));
  loop_.run(expect_hello(*to, true));
  loop_.run(expect_hello(*to, true));
}

TEST_F(Unix, ListeningReplacesASocketButNoFile) {
  Http1Server server(loop_.context.get_executor(), {}, hello);
  FILE* file = std::fopen(path_.c_str(), "w");
  ASSERT_NE(file, nullptr);
  std::fclose(file);
  EXPECT_EQ(server.listen_unix(path_, 0600).error().code, Errc::exists);
  EXPECT_EQ(server.listen_unix(std::string(200, 'a'), 0600).error().code, Errc::invalid);
  EXPECT_FALSE(server.listen_tcp("nowhere", 0).ok());
}

// What a client makes of a server's bytes.
struct Heard {
  int status = 0;
  std::string body, error;
};

Heard hear(std::string reply, std::string method = "GET") {
  Loop loop;
  auto [near, far] = socket_pair(loop.context);
  Heard heard;
  struct Stream final : ByteStream {
    explicit Stream(Socket s) : socket(std::move(s)) {}
    Task<Result<std::size_t>> read_some(std::span<char> into) override {
      const auto [code, n] = co_await socket.async_read_some(asio::buffer(into.data(), into.size()),
                                                             asio::as_tuple(asio::use_awaitable));
      if (code && code != asio::error::eof) co_return make_error(Errc::unavailable, code.message());
      co_return n;
    }
    Task<Status> write(std::string_view bytes) override {
      co_await send_raw(socket, std::string(bytes));
      co_return ok();
    }
    Task<Status> finish() override {
      socket.shutdown(Socket::shutdown_send);
      co_return ok();
    }
    void close() override { socket.close(); }
    Socket socket;
  };
  auto work = [](Socket client, Socket server, std::string bytes, std::string verb,
                 Heard& out) -> Task<void> {
    co_await send_raw(server, std::move(bytes));
    server.shutdown(Socket::shutdown_send);
    auto head = request(verb, "/");
    std::unique_ptr<ByteStream> stream = std::make_unique<Stream>(std::move(client));
    auto opened = co_await http1_over(std::move(stream), std::move(head), false);
    EXPECT_TRUE(opened.ok());
    if (!opened.ok()) co_return;
    auto reply_head = co_await (*opened)->head();
    if (!reply_head.ok()) {
      out.error = reply_head.error().message;
      co_return;
    }
    out.status = reply_head->status;
    auto body = co_await read_all(**opened, 1000);
    if (body.ok())
      out.body = *body;
    else
      out.error = body.error().message;
  };
  loop.run(work(std::move(near), std::move(far), std::move(reply), std::move(method), heard));
  return heard;
}

TEST(H1Client, BodiesByLengthChunksAndEnd) {
  EXPECT_EQ(hear("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcdef").body, "abc");
  EXPECT_EQ(hear("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n").body,
            "abc");
  EXPECT_EQ(hear("HTTP/1.0 200 OK\r\n\r\nabc").body, "abc");
  EXPECT_EQ(
      hear("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 201 Created\r\n\r\nabc")
          .status,
      201);
  EXPECT_EQ(hear("HTTP/1.1 204 No Content\r\n\r\nabc").body, "");
  EXPECT_EQ(hear("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", "HEAD").error, "");
}

TEST(H1Client, RefusesWhatIsCutOrAmbiguous) {
  for (const char* bad :
       {"", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nab\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", "nonsense\r\n\r\n",
        "HTTP/1.1 002 Low\r\n\r\n", "HTTP/1.1 200 OK\nA: b\n\n"})
    EXPECT_NE(hear(bad).error, "") << bad;
}

TEST(H1Client, HeadsCannotBeSplit) {
  Loop loop;
  Http1Server server(loop.context.get_executor(), {}, hello);
  const auto port = server.listen_tcp("127.0.0.1", 0);
  ASSERT_TRUE(port.ok());
  auto client =
      http1_client(loop.context.get_executor(), {.host = "127.0.0.1", .port = *port}, 2, Millis(1000));
  auto work = [](Client& to) -> Task<void> {
    for (int i = 0; i < 5; ++i) {
      auto head = request(i == 0 ? "GET /\r\n" : "GET", i == 1 ? "/a b" : i == 2 ? "/\r\nX: y" : "/");
      if (i == 3) head.headers.add("X", "a\nb");
      if (i == 4) head.authority = "a\r\nb";
      auto opened = co_await to.open(std::move(head), false);
      EXPECT_FALSE(opened.ok()) << i;
    }
    co_await expect_hello(to, true);
  };
  loop.run(work(*client));
}

// A body shorter than announced would make the next request on that connection a part of it.
TEST(H1Client, ABodyOfAWrongLengthIsNeverFollowedByAnotherRequest) {
  Loop loop;
  Http1Server server(loop.context.get_executor(), {}, hello);
  const auto port = server.listen_tcp("127.0.0.1", 0);
  ASSERT_TRUE(port.ok());
  auto client =
      http1_client(loop.context.get_executor(), {.host = "127.0.0.1", .port = *port}, 2, Millis(1000));
  auto work = [](Client& to) -> Task<void> {
    auto head = request("POST", "/x");
    head.content_length = 10;
    auto opened = co_await to.open(std::move(head), true);
    EXPECT_TRUE(opened.ok());
    const Status part = co_await (*opened)->write("12345");
    EXPECT_TRUE(part.ok());
    auto body = co_await read_all(**opened, 100);
    EXPECT_TRUE(body.ok());
    const Status over = co_await (*opened)->write("123456");
    EXPECT_FALSE(over.ok());
    const Status finished = co_await (*opened)->finish_body();
    EXPECT_FALSE(finished.ok());
    opened->reset();
    co_await expect_hello(to, true);
  };
  loop.run(work(*client));
}

TEST(H1Client, AnUpgradeThroughBothEnds) {
  Loop loop;
  Http1Server server(loop.context.get_executor(), {}, shout);
  const auto port = server.listen_tcp("127.0.0.1", 0);
  ASSERT_TRUE(port.ok());
  auto client =
      http1_client(loop.context.get_executor(), {.host = "127.0.0.1", .port = *port}, 2, Millis(1000));
  auto work = [](Client& to) -> Task<void> {
    auto head = request("GET", "/");
    head.upgrade = "shout";
    auto opened = co_await to.open(std::move(head), false);
    EXPECT_TRUE(opened.ok());
    auto reply = co_await (*opened)->head();
    EXPECT_TRUE(reply.ok());
    if (reply.ok()) {
      EXPECT_EQ(reply->status, 101);
      EXPECT_EQ(reply->headers.get_or("upgrade", ""), "shout");
    }
    const Status sent = co_await (*opened)->write("abc");
    EXPECT_TRUE(sent.ok());
    const Status finished = co_await (*opened)->finish_body();
    EXPECT_TRUE(finished.ok());
    auto rest = co_await read_all(**opened, 100);
    EXPECT_TRUE(rest.ok());
    if (rest.ok()) EXPECT_EQ(*rest, "ABCBYE");
  };
  loop.run(work(*client));
}

TEST(H1Client, CancelEndsAWaitingRead) {
  Loop loop;
  Waiter waiter;
  Http1Server server(loop.context.get_executor(), {},
                     [&waiter](Exchange& exchange) { return waiter.handle(exchange); });
  const auto port = server.listen_tcp("127.0.0.1", 0);
  ASSERT_TRUE(port.ok());
  auto client =
      http1_client(loop.context.get_executor(), {.host = "127.0.0.1", .port = *port}, 2, Millis(1000));
  auto work = [](Client& to, Waiter& counter) -> Task<void> {
    auto head = request("GET", "/");
    auto opened = co_await to.open(std::move(head), false);
    EXPECT_TRUE(opened.ok());
    ClientExchange* exchange = opened->get();
    auto later = [](ClientExchange* which) -> Task<void> {
      co_await sleep_for(Millis(5));
      which->cancel();
    };
    spawn(co_await asio::this_coro::executor, "cancel", later(exchange));
    auto reply = co_await exchange->head();
    EXPECT_FALSE(reply.ok());
    if (!reply.ok()) EXPECT_EQ(reply.error().code, Errc::unavailable);
    for (int i = 0; i < 1000 && counter.gone == 0; ++i) co_await sleep_for(Millis(2));
    EXPECT_EQ(counter.gone, 1);
  };
  loop.run(work(*client, waiter));
}

}  // namespace
}  // namespace atl::rpc
