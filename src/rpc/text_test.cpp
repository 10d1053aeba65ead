// URLs, Connect framing, multipart bodies, header lists: formats without a connection.
#include "rpc/connect.h"
#include "rpc/multipart.h"
#include "rpc/testing/raw.h"
#include "rpc/url.h"

namespace atl::rpc {
namespace {

using testing::Loop;
using testing::Pieces;

TEST(Headers, LookUpsIgnoreCaseAndKeepOrder) {
  Headers headers;
  headers.add("X-One", "1");
  headers.add("x-one", "2");
  headers.add("Other", "3");
  EXPECT_EQ(headers.get("X-ONE"), "1");
  EXPECT_EQ(headers.count("x-One"), 2u);
  headers.set("x-ONE", "4");
  EXPECT_EQ(headers.count("X-One"), 1u);
  EXPECT_EQ(headers.all()[0].first, "Other");
  headers.erase("OTHER");
  EXPECT_FALSE(headers.get("other").has_value());
  EXPECT_EQ(headers.get_or("none", "x"), "x");
}

TEST(Url, DecodesEscapesAndRefusesBadOnes) {
  EXPECT_EQ(percent_decode("a%20b%2Fc+d", false), "a b/c+d");
  EXPECT_EQ(percent_decode("a+b", true), "a b");
  for (const char* bad : {"%", "%1", "%zz", "a%2", "%00", "%0"})
    EXPECT_FALSE(percent_decode(bad, false)) << bad;
  EXPECT_EQ(percent_encode("a b/ü~"), "a%20b%2F%C3%BC~");
}

TEST(Url, AnEscapedSlashStaysInItsSegment) {
  const std::string text = "/a%2Fb//c?path=%2Ftmp%2Fx+y&empty&k=v=w";
  const auto target = parse_target(text);
  ASSERT_TRUE(target.ok());
  EXPECT_EQ(target->segments, (std::vector<std::string>{"a/b", "", "c"}));
  EXPECT_EQ(target->param("path"), "/tmp/x y");
  EXPECT_EQ(target->param("empty"), "");
  EXPECT_EQ(target->param("k"), "v=w");
  EXPECT_FALSE(target->param("none"));
  EXPECT_EQ(target->raw_path, "/a%2Fb//c");
}

TEST(Url, BoundsAndBadTargets) {
  std::string many;
  for (int i = 0; i < 300; ++i) many += "/a";
  EXPECT_FALSE(parse_target(many).ok());
  std::string query = "/?";
  for (int i = 0; i < 300; ++i) query += "a=b&";
  EXPECT_FALSE(parse_target(query).ok());
  for (const char* bad : {"", "a", "?x=1", "/%", "/?a=%"}) EXPECT_FALSE(parse_target(bad).ok()) << bad;
}

TEST(Connect, EnvelopesComeBackWhateverThePieces) {
  Loop loop;
  auto work = [](std::size_t piece) -> Task<void> {
    const std::string big(70'000, 'x');
    Pieces source(envelope(0, "one") + envelope(0, "") + envelope(0, big) + envelope(kEnvelopeEnd, "{}"),
                  piece);
    EnvelopeReader reader(source, 100'000);
    for (const std::string& expected : {std::string("one"), std::string(), big, std::string("{}")}) {
      auto next = co_await reader.next();
      EXPECT_TRUE(next.ok() && *next);
      if (!next.ok() || !*next) co_return;
      EXPECT_EQ((*next)->payload, expected);
      EXPECT_EQ((*next)->flags, expected == "{}" ? kEnvelopeEnd : 0);
    }
    auto end = co_await reader.next();
    EXPECT_TRUE(end.ok() && !*end);
  };
  for (std::size_t piece : {1ul, 4ul, 7ul, 1ul << 20}) loop.run(work(piece));
}

TEST(Connect, RefusesTooLargeCutAndUnknown) {
  Loop loop;
  auto work = [](std::string bytes) -> Task<void> {
    Pieces source(std::move(bytes), 3);
    EnvelopeReader reader(source, 10);
    auto next = co_await reader.next();
    EXPECT_FALSE(next.ok());
    if (!next.ok()) EXPECT_EQ(next.error().code, Errc::invalid);
  };
  loop.run(work(envelope(0, "12345678901")));
  loop.run(work(envelope(0, "12345").substr(0, 7)));
  loop.run(work(envelope(0, "1").substr(0, 3)));
  loop.run(work(envelope(4, "1")));
  loop.run(work(std::string("\0\xff\xff\xff\xff", 5)));
}

TEST(Connect, ErrorsCarryTheProtocolsNames) {
  EXPECT_EQ(connect_error_json(make_error(Errc::not_found, "no \"x\"")),
            R"({"code":"not_found","message":"no \"x\""})");
  EXPECT_EQ(connect_end_json(ok()), "{}");
  EXPECT_EQ(connect_end_json(make_error(Errc::deadline, "late")),
            R"({"error":{"code":"deadline_exceeded","message":"late"}})");
  EXPECT_EQ(connect_status(Errc::exists), 409);
  EXPECT_EQ(connect_status(Errc::deadline), 504);
}

Task<void> read_parts(std::string body, std::size_t piece, std::vector<std::string>& out,
                      std::string& error) {
  Pieces source(std::move(body), piece);
  MultipartReader reader(source, "XX");
  for (;;) {
    auto part = co_await reader.next();
    if (!part.ok()) {
      error = part.error().message;
      co_return;
    }
    if (!*part) co_return;
    std::string text = (*part)->name + "|" + (*part)->filename.value_or("-") + "|";
    char buffer[5];
    for (;;) {
      auto n = co_await reader.read_some(buffer);
      if (!n.ok()) {
        error = n.error().message;
        co_return;
      }
      if (*n == 0) break;
      text.append(buffer, *n);
    }
    out.push_back(std::move(text));
  }
}

TEST(Multipart, PartsWhateverThePieces) {
  const std::string body =
      "preamble\r\n--XX\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\\\"b;c.txt\"\r\n"
      "Content-Type: text/plain\r\n\r\nline\r\n--X\r\n-\r\n--XX\r\ncontent-disposition: form-data; "
      "name=empty\r\n\r\n"
      "\r\n--XX \r\nContent-Disposition: form-data; name=\"last\"\r\n\r\nz\r\n--XX--\r\nepilogue";
  for (std::size_t piece : {1ul, 2ul, 3ul, 10ul, 1000ul}) {
    Loop loop;
    std::vector<std::string> parts;
    std::string error;
    loop.run(read_parts(body, piece, parts, error));
    EXPECT_EQ(error, "");
    EXPECT_EQ(parts, (std::vector<std::string>{"file|a\"b;c.txt|line\r\n--X\r\n-", "empty|-|", "last|-|z"}))
        << piece;
  }
}

TEST(Multipart, RefusesWhatIsCutOrUnbounded) {
  const std::string head = "--XX\r\nContent-Disposition: form-data; name=a\r\n";
  for (const std::string& bad : {std::string("no boundary"), head + "\r\ndata", head,
                                 head + "X: " + std::string(9000, 'x') + "\r\n\r\nd\r\n--XX--",
                                 std::string("--XX\r\nContent-Type: a\r\n\r\nd\r\n--XX--"),
                                 std::string("--XXjunk\r\n") + head + "\r\nd\r\n--XX--"}) {
    Loop loop;
    std::vector<std::string> parts;
    std::string error;
    loop.run(read_parts(bad, 100, parts, error));
    EXPECT_NE(error, "") << bad.substr(0, 60);
  }
  Loop loop;
  std::string many;
  for (int i = 0; i < 1001; ++i) many += head + "\r\n\r\n";
  std::vector<std::string> parts;
  std::string error;
  loop.run(read_parts(many + "--XX--", 1 << 16, parts, error));
  EXPECT_EQ(parts.size(), 1000u);
  EXPECT_NE(error.find("1000"), std::string::npos);
}

TEST(Multipart, BoundaryOfAContentType) {
  EXPECT_EQ(MultipartReader::boundary_of("multipart/form-data; boundary=abc"), "abc");
  EXPECT_EQ(MultipartReader::boundary_of("Multipart/Form-Data; charset=x; boundary=\"a b\""), "a b");
  EXPECT_FALSE(MultipartReader::boundary_of("multipart/mixed; boundary=abc"));
  EXPECT_FALSE(MultipartReader::boundary_of("multipart/form-data"));
  EXPECT_FALSE(MultipartReader::boundary_of("multipart/form-data; boundary=" + std::string(71, 'x')));
}

TEST(ReadAll, TheLimitIsExact) {
  Loop loop;
  auto work = []() -> Task<void> {
    for (std::size_t size : {0ul, 10ul, 5000ul}) {
      Pieces exact(std::string(size, 'x'), 7), over(std::string(size + 1, 'x'), 7);
      auto whole = co_await read_all(exact, size);
      EXPECT_TRUE(whole.ok());
      if (whole.ok()) EXPECT_EQ(whole->size(), size);
      auto refused = co_await read_all(over, size);
      EXPECT_FALSE(refused.ok());
      if (!refused.ok()) EXPECT_EQ(refused.error().code, Errc::too_large);
    }
  };
  loop.run(work());
}

}  // namespace
}  // namespace atl::rpc
