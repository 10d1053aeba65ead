// The files service from the edge's side: HTTP/2 over a real pair of sockets.
#include <iostream>

#include "agent/files/files_service.h"
#include "agent/files/testing/files_fixture.h"
#include "rpc/connect.h"
#include "rpc/http2.h"
#include "rpc/testing/loop.h"
#include "rpc/url.h"

namespace atl::agent {
namespace {

using testing::get;
using testing::put;
using testing::TempDir;

class OverHttp2 : public testing::FilesFixture {
 protected:
  OverHttp2() {
    auto [near, far] = rpc::testing::socket_pair(loop);
    rpc::Handler handler = [this](rpc::Exchange& exchange) { return route(service, exchange); };
    spawn(loop.get_executor(), "server",
          rpc::serve_http2(std::move(far), rpc::Http2Limits{}, std::move(handler)));
    client = rpc::http2_client(std::move(near), rpc::Http2Limits{}, [] {});
  }
  ~OverHttp2() override {
    client->close();
    client.reset();
    loop.restart();
    loop.run_for(std::chrono::milliseconds(200));
  }

  static Task<void> route(FilesService& service, rpc::Exchange& exchange) {
    constexpr std::string_view kService = "/filesystem.Filesystem/";
    auto target = rpc::parse_target(exchange.request().target);
    if (!target.ok()) co_return;
    if (target->raw_path.starts_with(kService)) {
      const auto method = target->raw_path.substr(kService.size());
      co_await service.handle_rpc(exchange, method, content_kind(exchange.request())->codec);
    } else {
      co_await service.handle_http(exchange, *target);
    }
  }

  static rpc::RequestHead head(std::string method, std::string target, std::string type = "") {
    rpc::RequestHead head;
    head.method = std::move(method);
    head.target = std::move(target);
    head.authority = "sandbox";
    if (!type.empty()) head.headers.add("content-type", type);
    return head;
  }
  std::string at(const std::string& name) { return "/files?path=" + rpc::percent_encode(dir / name); }

  FilesService service{context};
  std::shared_ptr<rpc::Http2Client> client;
};

double rate(std::size_t bytes, std::chrono::steady_clock::time_point since) {
  return static_cast<double>(bytes) / 1e6 /
         std::chrono::duration<double>(std::chrono::steady_clock::now() - since).count();
}

std::string content_of(std::size_t size) {
  std::string text(size, '\0');
  std::uint64_t state = 88172645463325252ull;
  for (std::size_t i = 0; i + 8 <= size; i += 8) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    std::memcpy(text.data() + i, &state, 8);
  }
  return text;
}

Task<void> up_and_down(rpc::Client& client, rpc::RequestHead up, rpc::RequestHead down, std::string& content,
                       std::string& back) {
  auto since = std::chrono::steady_clock::now();
  auto sending = co_await client.open(std::move(up), true);
  EXPECT_TRUE(sending.ok());
  if (!sending.ok()) co_return;
  for (std::size_t done = 0; done < content.size(); done += 1u << 20) {
    const auto sent = co_await (*sending)->write(std::string_view(content).substr(done, 1u << 20));
    EXPECT_TRUE(sent.ok());
  }
  (void)co_await (*sending)->finish_body();
  auto reply = co_await (*sending)->head();
  EXPECT_TRUE(reply.ok() && reply->status == 200);
  std::cout << "[          ] upload " << rate(content.size(), since) << " MB/s\n";

  since = std::chrono::steady_clock::now();
  auto getting = co_await client.open(std::move(down), false);
  EXPECT_TRUE(getting.ok());
  if (!getting.ok()) co_return;
  auto found = co_await (*getting)->head();
  EXPECT_TRUE(found.ok() && found->status == 200);
  back.resize(content.size() + 1);
  std::size_t filled = 0;
  for (;;) {
    const std::span<char> room(back.data() + filled, back.size() - filled);
    auto got = co_await (*getting)->read_some(room);
    EXPECT_TRUE(got.ok());
    if (!got.ok() || *got == 0) break;
    filled += *got;
  }
  back.resize(filled);
  std::cout << "[          ] download " << rate(filled, since) << " MB/s\n";
}

TEST_F(OverHttp2, LargeFilesThereAndBack) {
  std::string content = content_of(100'000'000), back;
  auto up = head("POST", at("big"), "application/octet-stream");
  auto down = head("GET", at("big"));
  down.headers.add("accept-encoding", "gzip, deflate");
  run(up_and_down(*client, std::move(up), std::move(down), content, back));
  EXPECT_TRUE(back == content);
  EXPECT_TRUE(get(dir / "big") == content);
}

Task<void> call_into(rpc::Client& client, rpc::RequestHead head, std::string body, rpc::Reply& into) {
  auto reply = co_await rpc::call(client, std::move(head), std::move(body), 1u << 20, Millis(10'000));
  EXPECT_TRUE(reply.ok());
  if (reply.ok()) into = std::move(reply).value();
}

TEST_F(OverHttp2, StatAndErrors) {
  put(dir / "f", "12345");
  rpc::Reply reply;
  run(call_into(*client, head("POST", "/filesystem.Filesystem/Stat", "application/json"),
                R"({"path":")" + (dir / "f") + "\"}", reply));
  EXPECT_EQ(reply.head.status, 200);
  EXPECT_NE(reply.body.find(R"("size":"5")"), std::string::npos) << reply.body;
  run(call_into(*client, head("GET", at("none")), "", reply));
  EXPECT_EQ(reply.head.status, 404);
  EXPECT_NE(reply.body.find("\"code\":404"), std::string::npos);
}

// Start first, then what happens; the client's leaving ends the watch.
Task<void> watch(rpc::Client& client, rpc::RequestHead head, std::string path,
                 std::vector<std::string>& seen) {
  auto exchange = co_await client.open(std::move(head), true);
  EXPECT_TRUE(exchange.ok());
  if (!exchange.ok()) co_return;
  const std::string request = rpc::envelope(0, R"({"path":")" + path + R"(","recursive":true})");
  (void)co_await (*exchange)->write(request);
  (void)co_await (*exchange)->finish_body();
  rpc::EnvelopeReader reader(**exchange, 1u << 20);
  for (int i = 0; i < 3; ++i) {
    auto frame = co_await reader.next();
    EXPECT_TRUE(frame.ok() && frame->has_value());
    if (!frame.ok() || !frame->has_value()) co_return;
    seen.push_back((*frame)->payload);
    if (i == 0) ::mkdir((path + "/d").c_str(), 0755);
    if (i == 1) ::mkdir((path + "/d/e").c_str(), 0755);
  }
}

TEST_F(OverHttp2, Watches) {
  std::vector<std::string> seen;
  run(watch(*client, head("POST", "/filesystem.Filesystem/WatchDir", "application/connect+json"), dir.path(),
            seen));
  ASSERT_EQ(seen.size(), 3u);
  EXPECT_EQ(seen[0], R"({"start":{}})");
  EXPECT_EQ(seen[1], R"({"filesystem":{"name":"d","type":"EVENT_TYPE_CREATE"}})");
  EXPECT_EQ(seen[2], R"({"filesystem":{"name":"d/e","type":"EVENT_TYPE_CREATE"}})");
}

}  // namespace
}  // namespace atl::agent
