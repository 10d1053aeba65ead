// What a hostile client sends to the HTTP/1.1 server, byte by byte.
#include "rpc/http1.h"
#include "rpc/testing/raw.h"

namespace atl::rpc {
namespace {

using testing::Loop;
using testing::receive_all;
using testing::send_raw;
using testing::socket_pair;

Task<void> answer_with_length(Exchange& exchange) {
  auto body = co_await read_all(exchange.body(), 1 << 20);
  ReplyHead head;
  if (!body.ok()) head.status = http_status(body.error().code);
  std::string text =
      body.ok() ? "<" + exchange.request().method + " " + exchange.request().target + " " + *body + ">" : "";
  const Status sent = co_await exchange.reply(std::move(head), std::move(text));
  (void)sent.ok();
}

// Everything the server says to these bytes, until it closes.
std::string talk(std::string bytes, Http1Limits limits = {}) {
  Loop loop;
  Http1Server server(loop.context.get_executor(), limits, answer_with_length);
  auto [near, far] = socket_pair(loop.context);
  server.serve(std::move(far));
  std::string heard;
  auto work = [](Socket& socket, std::string text, std::string& out) -> Task<void> {
    spawn(co_await asio::this_coro::executor, "send", send_raw(socket, std::move(text)));
    out = co_await receive_all(socket, Millis(3000));
  };
  loop.run(work(near, std::move(bytes), heard));
  near.close();
  loop.context.restart();
  loop.context.run_for(std::chrono::milliseconds(20));
  return heard;
}

struct Case {
  const char* name;
  std::string bytes;
  int status;
};

class Malformed : public ::testing::TestWithParam<Case> {};

TEST_P(Malformed, IsRefusedAndTheConnectionClosed) {
  const Case& it = GetParam();
  // A request smuggled behind must not be answered.
  const std::string heard = talk(it.bytes + "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_TRUE(heard.starts_with("HTTP/1.1 " + std::to_string(it.status) + " ")) << heard;
  EXPECT_EQ(heard.find("smuggled"), std::string::npos) << heard;
  EXPECT_EQ(heard.find("<timeout>"), std::string::npos) << "the connection was left open";
}

const std::string kPost = "POST / HTTP/1.1\r\nHost: a\r\n";

INSTANTIATE_TEST_SUITE_P(
    H1, Malformed,
    ::testing::Values(
        Case{"LengthAndChunked", kPost + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
             400},
        Case{"ChunkedAndLength", kPost + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
             400},
        Case{"TwoLengths", kPost + "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 400},
        Case{"SameLengthTwice", kPost + "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", 400},
        Case{"LengthList", kPost + "Content-Length: 5, 5\r\n\r\nhello", 400},
        Case{"LengthWithPlus", kPost + "Content-Length: +5\r\n\r\nhello", 400},
        Case{"LengthNegative", kPost + "Content-Length: -1\r\n\r\n", 400},
        Case{"LengthHex", kPost + "Content-Length: 0x5\r\n\r\nhello", 400},
        Case{"LengthEmpty", kPost + "Content-Length: \r\n\r\nhello", 400},
        Case{"LengthHuge", kPost + "Content-Length: 99999999999999999999\r\n\r\n", 400},
        Case{"TwoEncodings",
             kPost + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
        Case{"EncodingList", kPost + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400},
        Case{"EncodingOther", kPost + "Transfer-Encoding: identity\r\n\r\n", 400},
        Case{"EncodingQuirk", kPost + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400},
        Case{"OldVersionChunked", "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
             400},
        Case{"ChunkSizeNegative", kPost + "Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n0\r\n\r\n", 400},
        Case{"ChunkSizePrefixed", kPost + "Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n", 400},
        Case{"ChunkSizeHuge",
             kPost + "Transfer-Encoding: chunked\r\n\r\n10000000000000005\r\nhello\r\n0\r\n\r\n", 400},
        Case{"ChunkSizeEmpty", kPost + "Transfer-Encoding: chunked\r\n\r\n\r\n0\r\n\r\n", 400},
        Case{"ChunkSizeSpace", kPost + "Transfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n0\r\n\r\n", 400},
        Case{"ChunkBareLf", kPost + "Transfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n", 400},
        Case{"ChunkExtensionBareCr", kPost + "Transfer-Encoding: chunked\r\n\r\n5;a\rb\r\nhello\r\n0\r\n\r\n",
             400},
        Case{"ChunkTooLong", kPost + "Transfer-Encoding: chunked\r\n\r\n3\r\nhello\r\n0\r\n\r\n", 400},
        Case{"ChunkLineEndless",
             kPost + "Transfer-Encoding: chunked\r\n\r\n5;" + std::string(5000, 'e') + "\r\nhello", 400},
        Case{"TrailersEndless",
             kPost + "Transfer-Encoding: chunked\r\n\r\n0\r\nA: " + std::string(20000, 'e') + "\r\n\r\n",
             400},
        Case{"BareLf", "GET / HTTP/1.1\nHost: a\r\n\r\n", 400},
        Case{"BareLfInField", "GET / HTTP/1.1\r\nHost: a\r\nX: b\nContent-Length: 5\r\n\r\n", 400},
        Case{"BareCr", "GET / HTTP/1.1\r\nHost: a\r\nX: b\rY: c\r\n\r\n", 400},
        Case{"Folded", "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", 400},
        Case{"FoldedFirst", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400},
        Case{"Nul", std::string("GET / HTTP/1.1\r\nHost: a\r\nX: b\0c\r\n\r\n", 36), 400},
        Case{"NulInTarget", std::string("GET /a\0b HTTP/1.1\r\nHost: a\r\n\r\n", 31), 400},
        Case{"ControlInValue",
             "GET / HTTP/1.1\r\nHost: a\r\nX: b\x01"
             "c\r\n\r\n",
             400},
        Case{"SpaceBeforeColon", kPost + "Content-Length : 5\r\n\r\nhello", 400},
        Case{"SpaceInName", "GET / HTTP/1.1\r\nHost: a\r\nX y: b\r\n\r\n", 400},
        Case{"NoColon", "GET / HTTP/1.1\r\nHost: a\r\nnonsense\r\n\r\n", 400},
        Case{"EmptyName", "GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", 400},
        Case{"NoHost", "GET / HTTP/1.1\r\n\r\n", 400},
        Case{"TwoHosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400},
        Case{"HostWithPath", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400},
        Case{"HostWithSpace", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400},
        Case{"HostWithAt", "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 400},
        Case{"OtherHostInTarget", "GET http://evil/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        Case{"TargetNoPath", "GET a/b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        Case{"TargetWithSpace", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        Case{"NoVersion", "GET /\r\nHost: a\r\n\r\n", 400},
        Case{"OtherVersion", "GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505},
        Case{"TargetTooLong", "GET /" + std::string(17'000, 'a') + " HTTP/1.1\r\nHost: a\r\n\r\n", 414},
        Case{"HeadTooLarge", "GET / HTTP/1.1\r\nHost: a\r\nX: " + std::string(70'000, 'a') + "\r\n\r\n", 431},
        Case{"HeadEndless", "GET / HTTP/1.1\r\nHost: a\r\nX: " + std::string(70'000, 'a'), 431},
        Case{"TooManyFields",
             [] {
               std::string text = "GET / HTTP/1.1\r\nHost: a\r\n";
               for (int i = 0; i < 600; ++i) text += "a: b\r\n";
               return text + "\r\n";
             }(),
             431}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(H1Strict, GoodRequestsPass) {
  const std::string close = "Connection: close\r\n";
  EXPECT_NE(talk("GET /x?y=1 HTTP/1.1\r\nHost: a\r\n" + close + "\r\n").find("<GET /x?y=1 >"),
            std::string::npos);
  EXPECT_NE(talk("\r\n\r\nGET / HTTP/1.1\r\nhost: [::1]:80\r\n" + close + "\r\n").find("<GET / >"),
            std::string::npos);
  EXPECT_NE(talk("GET http://a/p HTTP/1.1\r\nHost: a\r\n" + close + "\r\n").find("<GET /p >"),
            std::string::npos);
  EXPECT_NE(talk("GET http://A?q HTTP/1.1\r\nHost: a\r\n" + close + "\r\n").find("<GET /?q >"),
            std::string::npos);
  EXPECT_NE(talk("OPTIONS * HTTP/1.1\r\nHost: a\r\n" + close + "\r\n").find("<OPTIONS * >"),
            std::string::npos);
  EXPECT_NE(talk("POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\nab").find("<POST / ab>"), std::string::npos);
  EXPECT_NE(talk(kPost + close +
                 "Transfer-Encoding: Chunked\r\n\r\n2;x=\"y\"\r\nab\r\nA\r\n0123456789\r\n0\r\nT: v\r\n\r\n")
                .find("<POST / ab0123456789>"),
            std::string::npos);
}

TEST(H1Strict, PipelinedRequestsAreAnsweredInOrder) {
  const std::string heard =
      talk(kPost + "Content-Length: 3\r\n\r\noneGET /two HTTP/1.1\r\nHost: a\r\n\r\n" + kPost +
           "Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nsix\r\n0\r\n\r\n");
  const auto first = heard.find("<POST / one>"), second = heard.find("<GET /two >"),
             third = heard.find("<POST / six>");
  EXPECT_TRUE(first < second && second < third && third != std::string::npos) << heard;
}

TEST(H1Strict, AnOldClientsConnectionIsClosed) {
  const std::string heard = talk("GET / HTTP/1.0\r\n\r\n");
  EXPECT_NE(heard.find("Connection: close"), std::string::npos);
  EXPECT_EQ(heard.find("<timeout>"), std::string::npos);
}

TEST(H1Strict, SlowHeadsAndBodiesAreCutOff) {
  const Http1Limits limits{.head_deadline = Millis(50), .idle_deadline = Millis(100)};
  EXPECT_EQ(talk("", limits), "");
  EXPECT_EQ(talk("GET / HT", limits), "");
  EXPECT_EQ(talk(kPost + "Content-Length: 10\r\n\r\nabc", limits).find("<timeout>"), std::string::npos);
}

}  // namespace
}  // namespace atl::rpc
