#include "agent/files/http_fields.h"

#include <zlib.h>

#include "agent/files/gzip.h"
#include "agent/files/signature.h"
#include "agent/files/testing/files_fixture.h"
#include "base/crypto.h"

namespace atl::agent {
namespace {

using testing::TextSource;

TEST(HttpFields, AcceptedCodings) {
  struct Case {
    const char* field;
    bool gzip, identity;
  };
  const Case cases[] = {{"gzip, deflate", true, true},
                        {"", false, true},
                        {"br", false, true},
                        {"gzip;q=0", false, true},
                        {"identity;q=0", false, false},
                        {"*", true, true},
                        {"*;q=0", false, false},
                        {"gzip, *;q=0", true, false},
                        {"GZIP;q=0.5 , identity; q=0.0", true, false}};
  for (const Case& c : cases) {
    rpc::Headers headers;
    headers.add("accept-encoding", c.field);
    const Codings codings = accepted_codings(headers);
    EXPECT_EQ(codings.gzip, c.gzip) << c.field;
    EXPECT_EQ(codings.identity, c.identity) << c.field;
  }
  EXPECT_TRUE(accepted_codings(rpc::Headers()).identity);
}

TEST(HttpFields, Ranges) {
  const auto part = [](std::string_view field, std::uint64_t size) -> std::string {
    const auto range = range_of(field, size);
    if (const auto* some = std::get_if<ByteRange>(&range))
      return std::to_string(some->first) + "+" + std::to_string(some->length);
    return std::holds_alternative<WholeFile>(range) ? "whole" : "unsatisfiable";
  };
  EXPECT_EQ(part("bytes=0-4", 10), "0+5");
  EXPECT_EQ(part("bytes=5-", 10), "5+5");
  EXPECT_EQ(part("bytes=-3", 10), "7+3");
  EXPECT_EQ(part("bytes=-30", 10), "0+10");
  EXPECT_EQ(part("bytes=8-99", 10), "8+2");
  EXPECT_EQ(part("bytes=10-", 10), "unsatisfiable");
  EXPECT_EQ(part("bytes=-0", 10), "unsatisfiable");
  EXPECT_EQ(part("bytes=0-", 0), "unsatisfiable");
  for (const char* nonsense : {"bytes=5-2", "bytes=0-1,3-4", "items=0-1", "bytes=", "bytes=-", "bytes=a-b",
                               "bytes=1", "bytes=0-99999999999999999999999", "bytes=--1"})
    EXPECT_EQ(part(nonsense, 10), "whole") << nonsense;
}

TEST(HttpFields, DatesAndNames) {
  EXPECT_EQ(http_date(784111777), "Sun, 06 Nov 1994 08:49:37 GMT");
  EXPECT_EQ(parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT"), 784111777);
  for (const char* wrong : {"", "Mon, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 UTC",
                            "Sunday, 06-Nov-94 08:49:37 GMT", "Sun, 31 Feb 1994 08:49:37 GMT"})
    EXPECT_FALSE(parse_http_date(wrong)) << wrong;
  EXPECT_EQ(content_disposition("a.txt"), "inline; filename=a.txt");
  EXPECT_EQ(content_disposition("a \"b\".txt"), "inline; filename=\"a \\\"b\\\".txt\"");
  EXPECT_EQ(content_disposition("\xC3\xBC"), "inline; filename*=utf-8''%C3%BC");
  EXPECT_EQ(content_disposition("a\r\nx: y"), "inline; filename*=utf-8''a%0D%0Ax%3A%20y");
  EXPECT_EQ(content_type_of("x.PNG"), "image/png");
  EXPECT_EQ(content_type_of("x"), "application/octet-stream");
}

// Both vectors were seen on the wire.
TEST(Signature, KnownVectors) {
  const std::string token = "0tQG31xiMp0IOQfaz9dcwi72L1CPo8e0";
  EXPECT_EQ(file_signature("hello.txt", FileOperation::read, "user", token, std::nullopt),
            "v1_gUtH/s9YCJWgCizjfUxuWfhFE4QSydOWEIIvfLwDr6E");
  EXPECT_EQ(file_signature("hello.txt", FileOperation::read, "", token, std::nullopt),
            "v1_SnvZASdG5vD8p9rpaldX3434NfwgRVsYsvzCBL6oZbc");
}

class Access : public testing::FilesFixture {
 protected:
  Status check(const std::string& target, FileOperation operation, const std::string& token = "") {
    rpc::Headers headers;
    if (!token.empty()) headers.add("x-access-token", token);
    auto parsed = rpc::parse_target(target);
    EXPECT_TRUE(parsed.ok());
    return check_file_access(context, headers, *parsed, operation);
  }
};

TEST_F(Access, SignatureTokenAndExpiry) {
  EXPECT_TRUE(check("/files?path=a", FileOperation::read).ok());  // no token set
  context.boot.access_token = "tok";
  clock.wall_now = std::chrono::system_clock::from_time_t(1000);
  EXPECT_EQ(check("/files?path=a", FileOperation::read).error().message, "missing signature query parameter");
  EXPECT_TRUE(check("/files?path=a", FileOperation::read, "tok").ok());
  EXPECT_TRUE(check("/files?path=a&signature=wrong", FileOperation::read, "tok").ok());
  EXPECT_EQ(check("/files?path=a", FileOperation::read, "other").error().code, Errc::unauthenticated);

  const auto signed_target = [](const std::string& signature) {
    return "/files?path=a%20b&username=u&signature=" + rpc::percent_encode(signature);
  };
  const std::string read = file_signature("a b", FileOperation::read, "u", "tok", std::nullopt);
  EXPECT_TRUE(check(signed_target(read), FileOperation::read).ok());
  EXPECT_EQ(check(signed_target(read), FileOperation::write).error().message, "invalid signature");
  EXPECT_FALSE(check(signed_target(read) + "&signature_expiration=2000", FileOperation::read).ok());

  const std::string later = file_signature("a b", FileOperation::read, "u", "tok", 1000);
  EXPECT_TRUE(check(signed_target(later) + "&signature_expiration=1000", FileOperation::read).ok());
  clock.wall_now += std::chrono::seconds(1);
  auto late = check(signed_target(later) + "&signature_expiration=1000", FileOperation::read);
  EXPECT_EQ(late.error().message, "signature is already expired");
  EXPECT_EQ(late.error().code, Errc::unauthenticated);
  EXPECT_EQ(check(signed_target(later) + "&signature_expiration=x", FileOperation::read).error().code,
            Errc::invalid);
}

class Gunzip : public testing::FilesFixture {
 protected:
  Result<std::string> unpack(std::string packed, std::size_t piece) {
    Result<std::string> outcome = std::string();
    run(into(std::move(packed), piece, outcome));
    return outcome;
  }
  static Task<void> into(std::string packed, std::size_t piece, Result<std::string>& outcome) {
    TextSource source(std::move(packed), piece);
    GunzipSource plain(source);
    std::string all;
    char buffer[1000];
    for (;;) {
      auto got = co_await plain.read_some(buffer);
      if (!got.ok()) outcome = got.error();
      if (!got.ok()) co_return;
      if (*got == 0) break;
      all.append(buffer, *got);
    }
    outcome = all;
  }
};

TEST_F(Gunzip, RoundTripInAnyPieces) {
  std::string plain;
  for (int i = 0; i < 20'000; ++i) plain += std::to_string(i * 7919) + "\n";
  GzipWriter writer;
  std::string packed = writer.add(plain.substr(0, 5000), false);
  packed += writer.add(std::string_view(plain).substr(5000), true);
  EXPECT_LT(packed.size(), plain.size());
  for (std::size_t piece : {1ul, 7ul, 4096ul, 1ul << 20}) {
    auto back = unpack(packed, piece);
    ASSERT_TRUE(back.ok()) << back.error().message;
    EXPECT_EQ(*back, plain);
  }
  EXPECT_EQ(*unpack(packed + packed, 1000), plain + plain);  // two members
}

TEST_F(Gunzip, RefusesDamage) {
  GzipWriter writer;
  std::string packed = writer.add(std::string(100'000, 'x'), true);
  EXPECT_EQ(unpack(packed.substr(0, packed.size() - 1), 100).error().code, Errc::invalid);
  EXPECT_EQ(unpack("", 100).error().code, Errc::invalid);
  EXPECT_EQ(unpack("plain text", 100).error().code, Errc::invalid);
  EXPECT_EQ(unpack(packed + "tail", 100).error().code, Errc::invalid);
  packed[packed.size() - 6] ^= 1;  // the checksum
  EXPECT_EQ(unpack(packed, 100).error().code, Errc::invalid);
  GzipWriter nothing;
  EXPECT_EQ(*unpack(nothing.add("", true), 3), "");
}

}  // namespace
}  // namespace atl::agent
