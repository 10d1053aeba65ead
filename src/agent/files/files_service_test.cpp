#include "agent/files/files_service.h"

#include <sys/mount.h>

#include "agent/files/gzip.h"
#include "agent/files/http_fields.h"
#include "agent/files/signature.h"
#include "agent/files/testing/files_fixture.h"
#include "agent/files/upload.h"
#include "base/json.h"
#include "proto/filesystem.pb.h"
#include "rpc/url.h"

namespace atl::agent {
namespace {

using testing::FakeExchange;
using testing::get;
using testing::put;
using testing::TextSource;

class Files : public testing::FilesFixture {
 protected:
  void http(FakeExchange& exchange) { run(http_task(service, exchange)); }
  static Task<void> http_task(FilesService& service, FakeExchange& exchange) {
    auto target = rpc::parse_target(exchange.request().target);
    if (target.ok()) co_await service.handle_http(exchange, *target);
  }
  FakeExchange get_file(const std::string& path, const std::string& encoding = "") {
    FakeExchange exchange("GET", "/files?path=" + rpc::percent_encode(path));
    if (!encoding.empty()) exchange.with("accept-encoding", encoding);
    return exchange;
  }
  FakeExchange post_file(const std::string& path, std::string body) {
    FakeExchange exchange("POST", "/files?path=" + rpc::percent_encode(path), std::move(body));
    exchange.with("content-type", "application/octet-stream");
    return exchange;
  }
  FakeExchange call(const std::string& method, std::string body) {
    FakeExchange exchange("POST", "/filesystem.Filesystem/" + method, std::move(body));
    exchange.with("content-type", "application/json");
    run(service.handle_rpc(exchange, method, Codec::json));
    return exchange;
  }
  static Task<void> unpack(std::string packed, std::string& plain) {
    TextSource source(std::move(packed));
    GunzipSource reader(source);
    std::vector<char> buffer(65536);
    for (;;) {
      auto got = co_await reader.read_some(buffer);
      if (!got.ok() || *got == 0) co_return;
      plain.append(buffer.data(), *got);
    }
  }
  std::string gunzip(const std::string& packed) {
    std::string plain;
    run(unpack(packed, plain));
    return plain;
  }
  FilesService service{context};
};

std::string random_text(std::size_t size) {
  std::string text(size, '\0');
  std::uint32_t state = 12345;
  for (char& c : text) c = static_cast<char>((state = state * 1664525 + 1013904223) >> 24);
  return text;
}

TEST_F(Files, DownloadsWholeFiles) {
  for (std::size_t size : {0ul, 1ul, 255ul << 10, 256ul << 10, (256ul << 10) + 1, 3ul << 20}) {
    const std::string content = random_text(size);
    put(dir / "f.bin", content);
    auto exchange = get_file(dir / "f.bin");
    http(exchange);
    EXPECT_EQ(exchange.status(), 200);
    EXPECT_EQ(exchange.reply_head.content_length, size);
    EXPECT_TRUE(exchange.reply_body == content) << size;
    EXPECT_TRUE(exchange.finished);
    EXPECT_EQ(exchange.header("content-disposition"), "inline; filename=f.bin");
    EXPECT_TRUE(parse_http_date(exchange.header("last-modified")));
  }
}

TEST_F(Files, DownloadsGzipped) {
  for (std::size_t size : {1ul, 100ul << 10, 3ul << 20}) {
    const std::string content = random_text(size);
    put(dir / "f", content);
    auto exchange = get_file(dir / "f", "gzip, deflate");
    http(exchange);
    EXPECT_EQ(exchange.header("content-encoding"), "gzip");
    EXPECT_FALSE(exchange.reply_head.content_length);
    EXPECT_TRUE(gunzip(exchange.reply_body) == content) << size;
  }
  put(dir / "f", random_text(9u << 20));
  auto large = get_file(dir / "f", "gzip");
  http(large);
  EXPECT_EQ(large.header("content-encoding"), "");
  auto refused = get_file(dir / "f", "gzip, identity;q=0");
  http(refused);
  EXPECT_EQ(refused.header("content-encoding"), "gzip");
  auto neither = get_file(dir / "f", "identity;q=0");
  http(neither);
  EXPECT_EQ(neither.status(), 406);
}

TEST_F(Files, DownloadsProcfsBothWays) {
  auto plain = get_file("/proc/cpuinfo");
  http(plain);
  EXPECT_NE(plain.reply_body.find("processor"), std::string::npos);
  auto packed = get_file("/proc/cpuinfo", "gzip");
  http(packed);
  EXPECT_NE(gunzip(packed.reply_body).find("processor"), std::string::npos);
}

TEST_F(Files, DownloadsRanges) {
  const std::string content = random_text(1u << 20);
  put(dir / "f", content);
  const std::pair<std::size_t, std::size_t> parts[] = {{0, 10}, {100, 300'000}, {1'000'000, 48'576}};
  for (const auto& [first, length] : parts) {
    auto exchange = get_file(dir / "f", "gzip");
    exchange.with("range", "bytes=" + std::to_string(first) + "-" + std::to_string(first + length - 1));
    http(exchange);
    EXPECT_EQ(exchange.status(), 206);
    EXPECT_TRUE(exchange.reply_body == content.substr(first, length));
    EXPECT_EQ(exchange.reply_head.content_length, length);
  }
  auto beyond = get_file(dir / "f");
  beyond.with("range", "bytes=9999999-");
  http(beyond);
  EXPECT_EQ(beyond.status(), 416);
  EXPECT_EQ(beyond.header("content-range"), "bytes */1048576");
  auto stale = get_file(dir / "f");
  stale.with("range", "bytes=0-1").with("if-range", "Sun, 06 Nov 1994 08:49:37 GMT");
  http(stale);
  EXPECT_EQ(stale.status(), 200);
}

TEST_F(Files, DownloadChecksInEnvdsOrder) {
  ::mkfifo((dir / "pipe").c_str(), 0666);
  put(dir / "f", "x");
  const std::string unacceptable = "identity;q=0";
  auto missing = get_file(dir / "none", unacceptable);
  http(missing);
  EXPECT_EQ(missing.status(), 404);
  auto folder = get_file(dir.path(), unacceptable);
  http(folder);
  EXPECT_EQ(folder.status(), 400);
  auto pipe = get_file(dir / "pipe", unacceptable);
  http(pipe);
  EXPECT_EQ(pipe.status(), 400);
  FakeExchange unknown("GET", "/files?path=/none&username=nobody-here");
  http(unknown);
  EXPECT_EQ(unknown.status(), 401);
  EXPECT_NE(unknown.reply_body.find("\"code\":401"), std::string::npos);
  context.boot.access_token = "tok";
  auto no_token = get_file(dir / "none");
  http(no_token);
  EXPECT_EQ(no_token.status(), 401);
  auto with_token = get_file(dir / "f");
  with_token.with("x-access-token", "tok");
  http(with_token);
  EXPECT_EQ(with_token.status(), 200);
}

TEST_F(Files, QueriesAreForms) {
  put(dir / "a b\xC3\xBC", "x");
  FakeExchange exchange("GET", "/files?path=" + rpc::percent_encode(dir.path()) + "%2Fa+b%C3%BC");
  http(exchange);
  EXPECT_EQ(exchange.status(), 200);
  EXPECT_EQ(exchange.reply_body, "x");
}

TEST_F(Files, AFullDiskIs507) {
  NEEDS(root);
  const std::string small = dir / "small";
  ::mkdir(small.c_str(), 0755);
  if (::mount("tmpfs", small.c_str(), "tmpfs", 0, "size=1m") != 0) GTEST_SKIP() << "needs the right to mount";
  auto exchange = post_file(small + "/f", std::string(3u << 20, 'x'));
  http(exchange);
  ::umount2(small.c_str(), MNT_DETACH);
  EXPECT_EQ(exchange.status(), 507) << exchange.reply_body;
  EXPECT_NE(exchange.reply_body.find("not enough disk space"), std::string::npos);
}

TEST_F(Files, NotModified) {
  put(dir / "f", "x");
  auto first = get_file(dir / "f");
  http(first);
  auto again = get_file(dir / "f");
  again.with("if-modified-since", first.header("last-modified"));
  http(again);
  EXPECT_EQ(again.status(), 304);
  EXPECT_EQ(again.reply_body, "");
}

TEST_F(Files, UploadsOctets) {
  for (std::size_t size : {0ul, 5ul, 512ul << 10, (512ul << 10) + 1, 3ul << 20}) {
    const std::string content = random_text(size);
    auto exchange = post_file(dir / "new/deep/f", content);
    http(exchange);
    ASSERT_EQ(exchange.status(), 200) << exchange.reply_body;
    EXPECT_TRUE(get(dir / "new/deep/f") == content) << size;
    EXPECT_EQ(exchange.reply_body,
              R"([{"name":"f","path":")" + (dir / "new/deep/f") + R"(","type":"file"}])");
  }
}

TEST_F(Files, UploadsGzip) {
  const std::string content(5u << 20, 'a');
  GzipWriter writer;
  auto exchange = post_file(dir / "f", writer.add(content, true));
  exchange.with("content-encoding", "gzip");
  http(exchange);
  EXPECT_EQ(exchange.status(), 200);
  EXPECT_TRUE(get(dir / "f") == content);
  auto damaged = post_file(dir / "f", "no gzip");
  damaged.with("content-encoding", "gzip");
  http(damaged);
  EXPECT_EQ(damaged.status(), 400);
  auto other = post_file(dir / "f", "x");
  other.with("content-encoding", "br");
  http(other);
  EXPECT_EQ(other.status(), 400);
}

std::string part(const std::string& name, const std::string& file, const std::string& content) {
  return "--B\r\nContent-Disposition: form-data; name=\"" + name + "\"; filename=\"" + file +
         "\"\r\nContent-Type: text/plain\r\n\r\n" + content + "\r\n";
}

TEST_F(Files, UploadsParts) {
  FakeExchange exchange("POST", "/files",
                        part("file", dir / "a", "one") + part("note", "n", "skipped") +
                            part("file", dir / "b", "two\r\n--no") + "--B--\r\n");
  exchange.with("content-type", "multipart/form-data; boundary=B");
  http(exchange);
  ASSERT_EQ(exchange.status(), 200) << exchange.reply_body;
  EXPECT_EQ(get(dir / "a"), "one");
  EXPECT_EQ(get(dir / "b"), "two\r\n--no");
  EXPECT_EQ(parse_json(exchange.reply_body)->as_array().size(), 2u);

  FakeExchange twice("POST", "/files",
                     part("file", dir / "a", "1") + part("file", dir / "a", "2") + "--B--\r\n");
  twice.with("content-type", "multipart/form-data; boundary=B");
  http(twice);
  EXPECT_EQ(twice.status(), 400);
  EXPECT_EQ(get(dir / "a"), "1");
}

TEST_F(Files, UploadRefusals) {
  FakeExchange no_path("POST", "/files", "x");
  no_path.with("content-type", "application/octet-stream");
  http(no_path);
  EXPECT_EQ(no_path.status(), 400);
  FakeExchange type("POST", "/files?path=/tmp/x", "x");
  type.with("content-type", "text/plain");
  http(type);
  EXPECT_EQ(type.status(), 400);
  auto folder = post_file(dir.path(), "x");
  http(folder);
  EXPECT_EQ(folder.status(), 400);
  ::mkfifo((dir / "pipe").c_str(), 0666);
  auto pipe = post_file(dir / "pipe", "x");
  http(pipe);
  EXPECT_EQ(pipe.status(), 400);
  if (::access("/dev/full", F_OK) == 0) {
    auto device = post_file("/dev/full", "x");
    http(device);
    EXPECT_EQ(device.status(), 400);
  }
  FakeExchange verb("DELETE", "/files?path=/x");
  http(verb);
  EXPECT_EQ(verb.status(), 405);
}

TEST_F(Files, ABrokenUploadLeavesWhatCame) {
  auto exchange = post_file(dir / "f", "");
  auto source = std::make_unique<TextSource>("half");
  source->failure = make_error(Errc::unavailable, "connection reset");
  exchange.set_body(std::move(source));
  http(exchange);
  EXPECT_EQ(exchange.status(), 503);
  EXPECT_EQ(get(dir / "f"), "half");
}

// A source that never gives anything, as a client that stalls.
class StalledSource : public rpc::ByteSource {
 public:
  Task<Result<std::size_t>> read_some(std::span<char>) override {
    asio::steady_timer never(co_await asio::this_coro::executor, std::chrono::hours(1));
    (void)co_await never.async_wait(asio::as_tuple(asio::use_awaitable));
    co_return make_error(Errc::unavailable, "cancelled");
  }
};

TEST_F(Files, AnIdleUploadEnds) {
  auto exchange = post_file(dir / "f", "");
  exchange.set_body(std::make_unique<StalledSource>());
  auto target = rpc::parse_target(exchange.request().target);
  ASSERT_TRUE(target.ok());
  run(upload(context, exchange, *target, Millis(20)));
  EXPECT_EQ(exchange.status(), 504);
}

TEST_F(Files, UploadOwnsAndKeepsMetadata) {
  NEEDS(root);
  put(dir / "f", "old", 0640);
  ASSERT_EQ(::chown((dir / "f").c_str(), 4321, 4321), 0);
  auto exchange = post_file(dir / "f", "new");
  exchange.with("x-metadata-purpose", "test");
  http(exchange);
  if (exchange.status() == 501) GTEST_SKIP() << "needs extended attributes in /tmp";
  ASSERT_EQ(exchange.status(), 200) << exchange.reply_body;
  EXPECT_NE(exchange.reply_body.find(R"("metadata":{"purpose":"test"})"), std::string::npos);
  struct stat st = {};
  ASSERT_EQ(::stat((dir / "f").c_str(), &st), 0);
  EXPECT_EQ(st.st_uid, 0u);
  EXPECT_EQ(st.st_mode & 0777, 0640u);
  auto stat = call("Stat", R"({"path":")" + (dir / "f") + "\"}");
  EXPECT_NE(stat.reply_body.find(R"("metadata":{"purpose":"test"})"), std::string::npos) << stat.reply_body;
}

TEST_F(Files, Composes) {
  put(dir / "p1", "one ");
  put(dir / "p2", "two");
  auto run_compose = [&](const std::string& text) {
    FakeExchange exchange("POST", "/files/compose", text);
    http(exchange);
    return exchange;
  };
  const std::string p1 = dir / "p1", p2 = dir / "p2", out = dir / "out/whole";
  auto done =
      run_compose(R"({"source_paths":[")" + p1 + R"(",")" + p2 + R"("],"destination":")" + out + "\"}");
  EXPECT_EQ(done.status(), 200) << done.reply_body;
  EXPECT_EQ(get(out), "one two");
  EXPECT_FALSE(exists(p1));
  EXPECT_EQ(list_dir(dir / "out")->size(), 1u);
  EXPECT_EQ(run_compose(R"({"source_paths":[],"destination":"x"})").status(), 400);
  EXPECT_EQ(run_compose("nonsense").status(), 400);
  EXPECT_EQ(run_compose(R"({"source_paths":[")" + out + R"("],"destination":")" + out + "\"}").status(), 400);
  EXPECT_EQ(run_compose(R"({"source_paths":["/none"],"destination":")" + out + "\"}").status(), 404);
  EXPECT_EQ(get(out), "one two");
  context.boot.access_token = "tok";
  EXPECT_EQ(run_compose(R"({"source_paths":[")" + out + R"("],"destination":"/tmp/x"})").status(), 401);
}

TEST_F(Files, RpcRoundTrip) {
  const std::string path = dir / "d";
  EXPECT_EQ(call("MakeDir", R"({"path":")" + path + "\"}").status(), 200);
  auto again = call("MakeDir", R"({"path":")" + path + "\"}");
  EXPECT_EQ(again.status(), 409);
  EXPECT_NE(again.reply_body.find("already_exists"), std::string::npos);
  auto stat = call("Stat", R"({"path":")" + path + "\"}");
  EXPECT_NE(stat.reply_body.find(R"("type":"FILE_TYPE_DIRECTORY")"), std::string::npos) << stat.reply_body;
  EXPECT_NE(stat.reply_body.find(R"("mode":493)"), std::string::npos) << stat.reply_body;
  EXPECT_EQ(call("Move", R"({"source":")" + path + R"(","destination":")" + (dir / "e") + "\"}").status(),
            200);
  auto list = call("ListDir", R"({"path":")" + dir.path() + "\"}");
  EXPECT_NE(list.reply_body.find(R"("name":"e")"), std::string::npos) << list.reply_body;
  EXPECT_EQ(call("Remove", R"({"path":")" + (dir / "e") + "\"}").reply_body, "{}");
  auto missing = call("Stat", R"({"path":")" + (dir / "e") + "\"}");
  EXPECT_EQ(missing.status(), 404);
  EXPECT_NE(missing.reply_body.find(R"("code":"not_found")"), std::string::npos);
  EXPECT_EQ(call("Nothing", "{}").status(), 501);
}

TEST_F(Files, RpcSpeaksProto) {
  put(dir / "f", "12345");
  filesystem::StatRequest request;
  request.set_path(dir / "f");
  FakeExchange exchange("POST", "/filesystem.Filesystem/Stat", request.SerializeAsString());
  exchange.with("content-type", "application/proto");
  run(service.handle_rpc(exchange, "Stat", Codec::proto));
  filesystem::StatResponse reply;
  ASSERT_TRUE(reply.ParseFromString(exchange.reply_body));
  EXPECT_EQ(reply.entry().size(), 5);
}

TEST_F(Files, RpcUnknownUser) {
  FakeExchange exchange("POST", "/filesystem.Filesystem/Stat", R"({"path":"/"})");
  exchange.with("content-type", "application/json").with("authorization", "Basic bm9ib2R5MTIzOg==");
  run(service.handle_rpc(exchange, "Stat", Codec::json));
  EXPECT_EQ(exchange.status(), 401);
  EXPECT_NE(exchange.reply_body.find("invalid username: 'nobody123'"), std::string::npos)
      << exchange.reply_body;
}

}  // namespace
}  // namespace atl::agent
