// HTTP/2 from a client that is no friend: floods, and slowness.
#include "rpc/http2.h"
#include "rpc/testing/raw.h"

namespace atl::rpc {
namespace {

using testing::Loop;
using testing::receive_all;
using testing::send_raw;
using testing::socket_pair;

constexpr std::uint8_t kData = 0, kHeaders = 1, kPriority = 2, kRstStream = 3, kSettings = 4, kPing = 6;
constexpr std::uint8_t kEndStream = 1, kEndHeaders = 4;
const std::string kMagic = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
// :method GET, :scheme https, :path /, and :authority a (literal), as HPACK.
const std::string kFields = "\x82\x87\x84\x41\x01\x61";
constexpr char kEnhanceYourCalm = 0x0b;

std::string frame(std::uint8_t type, std::uint8_t flags, std::uint32_t stream, std::string_view payload) {
  const std::size_t n = payload.size();
  std::string out;
  for (const std::size_t byte : {n >> 16, n >> 8, n}) out += static_cast<char>(byte);
  out += static_cast<char>(type);
  out += static_cast<char>(flags);
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(stream >> shift);
  return out.append(payload);
}

std::string repeated(const std::string& what, int times) {
  std::string out;
  for (int i = 0; i < times; ++i) out += what;
  return out;
}

Task<void> answer(Exchange& exchange) {
  ReplyHead head;
  const Status sent = co_await exchange.reply(std::move(head), "ok");
  (void)sent.ok();
}

// Counts requests, and keeps each until its body comes, which it never does.
Handler holding(int& handled) {
  return [&handled](Exchange& exchange) -> Task<void> {
    ++handled;
    char buffer[16];
    const auto n = co_await exchange.body().read_some(buffer);
    (void)n.ok();
  };
}

// What the server sends to these bytes until it closes.
std::string reply_to(std::string bytes, Http2Limits limits, Handler handler = answer,
                     Millis wait = Millis(5000)) {
  Loop loop;
  auto [near, far] = socket_pair(loop.context);
  Http2Server server(loop.context.get_executor(), limits, 8, std::move(handler));
  server.serve(std::move(far), nullptr);
  std::string got;
  auto work = [](Socket& socket, std::string text, Millis limit, std::string& into) -> Task<void> {
    co_await send_raw(socket, std::move(text));
    into = co_await receive_all(socket, limit);
  };
  loop.run(work(near, std::move(bytes), wait, got));
  near.close();
  auto stop = [](Http2Server& s) -> Task<void> { co_await s.stop(Millis(100)); };
  loop.run(stop(server));
  return got;
}

// The error of the last GOAWAY frame; nullopt where there is none.
std::optional<char> goaway_code(const std::string& bytes) {
  std::optional<char> code;
  for (std::size_t at = 0; at + 9 <= bytes.size();) {
    const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(bytes[at + i]); };
    const std::size_t size = (byte(0) << 16) + (byte(1) << 8) + byte(2);
    if (byte(3) == 7 && at + 17 <= bytes.size()) code = bytes[at + 16];
    at += 9 + size;
  }
  return code;
}

TEST(Http2Strangers, FloodsOfFramesThatCarryNothingEndTheConnection) {
  const std::string begin = kMagic + frame(kSettings, 0, 0, "");
  const std::string open = frame(kHeaders, kEndHeaders, 1, kFields);
  const std::pair<const char*, std::string> floods[] = {
      {"ping", repeated(frame(kPing, 0, 0, "12345678"), 400)},
      {"settings", repeated(frame(kSettings, 0, 0, ""), 400)},
      {"priority", repeated(frame(kPriority, 0, 3, std::string("\0\0\0\0\0", 5)), 400)},
      {"empty data", open + repeated(frame(kData, 0, 1, ""), 400)},
  };
  for (const auto& [what, bytes] : floods) {
    const std::string got = reply_to(begin + bytes, client_limits());
    EXPECT_EQ(goaway_code(got), kEnhanceYourCalm) << what;
    EXPECT_FALSE(got.ends_with("<timeout>")) << what;
  }
}

TEST(Http2Strangers, FewPingsAreAnswered) {
  const std::string bytes =
      kMagic + frame(kSettings, 0, 0, "") + repeated(frame(kPing, 0, 0, "12345678"), 20);
  const std::string got = reply_to(bytes, client_limits(), answer, Millis(200));
  EXPECT_EQ(goaway_code(got), std::nullopt);
  EXPECT_TRUE(got.ends_with("<timeout>"));
}

TEST(Http2Strangers, RapidResetEndsTheConnection) {
  std::string bytes = kMagic + frame(kSettings, 0, 0, "");
  for (std::uint32_t id = 1; id < 2000; id += 2) {
    bytes += frame(kHeaders, kEndHeaders | kEndStream, id, kFields);
    bytes += frame(kRstStream, 0, id, std::string("\0\0\0\x08", 4));
  }
  int handled = 0;
  auto count = [&handled](Exchange& exchange) {
    ++handled;
    return answer(exchange);
  };
  const std::string got = reply_to(std::move(bytes), client_limits(), count);
  EXPECT_EQ(goaway_code(got), kEnhanceYourCalm);
  EXPECT_LE(handled, 1000);
}

TEST(Http2Strangers, MoreStreamsThanAllowedAreRefusedOneByOne) {
  Http2Limits limits = client_limits();
  limits.streams_max = 4;
  std::string bytes = kMagic + frame(kSettings, 0, 0, "") + frame(kSettings, 1, 0, "");
  for (std::uint32_t id = 1; id < 20; id += 2) bytes += frame(kHeaders, kEndHeaders, id, kFields);
  int handled = 0;
  const std::string got = reply_to(std::move(bytes), limits, holding(handled), Millis(200));
  EXPECT_EQ(handled, 4);
}

TEST(Http2Strangers, ALargeHeadIsRefused) {
  Http2Limits limits = client_limits();
  limits.head_bytes_max = 1000;
  // A literal field of 900 bytes, twice.
  const std::string field = std::string("\x00\x01x\x7f", 4) + "\x85\x06" + std::string(900, 'v');
  const std::string bytes = kMagic + frame(kSettings, 0, 0, "") +
                            frame(kHeaders, kEndHeaders | kEndStream, 1, kFields + field + field);
  int handled = 0;
  auto count = [&handled](Exchange& exchange) {
    ++handled;
    return answer(exchange);
  };
  reply_to(bytes, limits, count, Millis(200));
  EXPECT_EQ(handled, 0);
}

TEST(Http2Strangers, ASlowOneIsNotWaitedFor) {
  Http2Limits limits = client_limits();
  limits.head_deadline = Millis(60);
  limits.idle_deadline = Millis(200);
  const std::string begin = kMagic + frame(kSettings, 0, 0, "");
  const std::pair<const char*, std::string> slow[] = {
      {"nothing at all", ""},
      {"half a preface", kMagic.substr(0, 10)},
      {"no settings", kMagic},
      {"a head without its end", begin + frame(kHeaders, 0, 1, kFields)},
      {"no request", begin},
      {"no second request", begin + frame(kHeaders, kEndHeaders | kEndStream, 1, kFields)},
  };
  for (const auto& [what, bytes] : slow)
    EXPECT_FALSE(reply_to(bytes, limits).ends_with("<timeout>")) << what;
}

// Has frames of this type?
bool has_frame(const std::string& bytes, std::uint8_t type) {
  for (std::size_t at = 0; at + 9 <= bytes.size();) {
    const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(bytes[at + i]); };
    if (byte(3) == type) return true;
    at += 9 + (byte(0) << 16) + (byte(1) << 8) + byte(2);
  }
  return false;
}

TEST(Http2Strangers, AStreamWhoseWindowStaysShutIsReset) {
  Http2Limits limits = client_limits();
  limits.write_deadline = Millis(80);
  const std::string shut = frame(kSettings, 0, 0, std::string("\0\x04\0\0\0\0", 6));
  Status sent = ok();
  bool ended = false;
  auto reply = [&](Exchange& exchange) -> Task<void> {
    ReplyHead head;
    sent = co_await exchange.reply(std::move(head), "never taken");
    ended = true;
  };
  const std::string got =
      reply_to(kMagic + shut + frame(kHeaders, kEndHeaders | kEndStream, 1, kFields), limits, reply, Millis(1500));
  EXPECT_TRUE(has_frame(got, kRstStream));
  EXPECT_TRUE(ended);
  EXPECT_FALSE(sent.ok());
}

TEST(Http2Strangers, TheFieldsOfAllRequestsTogetherAreBounded) {
  Http2Limits limits = client_limits();
  limits.open_head_bytes_max = 2500;
  const std::string field = std::string("\x00\x01x\x7f", 4) + "\x85\x06" + std::string(900, 'v');
  std::string bytes = kMagic + frame(kSettings, 0, 0, "") + frame(kSettings, 1, 0, "");
  for (std::uint32_t id = 1; id < 12; id += 2) bytes += frame(kHeaders, kEndHeaders, id, kFields + field);
  int handled = 0;
  const std::string got = reply_to(std::move(bytes), limits, holding(handled), Millis(200));
  EXPECT_EQ(handled, 2);
  EXPECT_TRUE(has_frame(got, kRstStream));
}

TEST(Http2Strangers, AnIdleConnectionMakesRoomForANewOne) {
  Loop loop;
  auto [first, first_far] = socket_pair(loop.context);
  auto [second, second_far] = socket_pair(loop.context);
  Http2Server server(loop.context.get_executor(), client_limits(), 1, answer);
  server.serve(std::move(first_far), nullptr);
  server.serve(std::move(second_far), nullptr);
  std::string got;
  auto end = [](Socket& socket, std::string& into) -> Task<void> { into = co_await receive_all(socket); };
  loop.run(end(first, got));
  EXPECT_EQ(goaway_code(got), 0);
  const std::string ask =
      kMagic + frame(kSettings, 0, 0, "") + frame(kHeaders, kEndHeaders | kEndStream, 1, kFields);
  auto talk = [](Socket& socket, std::string text, std::string& into) -> Task<void> {
    co_await send_raw(socket, std::move(text));
    into = co_await receive_all(socket, Millis(300));
  };
  loop.run(talk(second, ask, got));
  EXPECT_TRUE(has_frame(got, kHeaders));
  second.close();
  auto stop = [](Http2Server& s) -> Task<void> { co_await s.stop(Millis(100)); };
  loop.run(stop(server));
}

TEST(Http2Strangers, ANewConnectionMustAskSoon) {
  Http2Limits limits = client_limits();
  limits.first_request_deadline = Millis(100);
  const std::string begin = kMagic + frame(kSettings, 0, 0, "");
  EXPECT_FALSE(reply_to(begin + frame(kPing, 0, 0, "12345678"), limits, answer, Millis(2500)).ends_with("<timeout>"));
  const std::string asked = begin + frame(kHeaders, kEndHeaders | kEndStream, 1, kFields);
  EXPECT_TRUE(reply_to(asked, limits, answer, Millis(700)).ends_with("<timeout>"));
}

TEST(Http2Strangers, OneTooManyConnectionsIsToldToGo) {
  Loop loop;
  auto [near, far] = socket_pair(loop.context);
  Http2Server server(loop.context.get_executor(), client_limits(), 0, answer);
  server.serve(std::move(far), nullptr);
  std::string got;
  auto work = [](Socket& socket, std::string& into) -> Task<void> { into = co_await receive_all(socket); };
  loop.run(work(near, got));
  EXPECT_EQ(goaway_code(got), 0);
}

}  // namespace
}  // namespace atl::rpc
