// The agent as a whole: its plain routes, tunnels, its channel, and the emptiest root.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/write.hpp>

#include "agent/init.h"
#include "agent/metrics.h"
#include "agent/testing/edge_harness.h"
#include "agent/tunnel.h"
#include "base/testing/needs.h"

namespace atl::agent {
namespace {

using asio::ip::tcp;
using testing::Edge;
using testing::Events;

#if __has_feature(address_sanitizer)
constexpr bool kSanitized = true;  // such programs are never static
#else
constexpr bool kSanitized = false;
#endif

int code_of(const std::string& body) {
  const auto value = parse_json(body);
  if (!value.ok() || !value->is_object()) return 0;
  const auto* code = value->as_object().if_contains("code");
  return code && code->is_int64() ? static_cast<int>(code->as_int64()) : 0;
}

TEST(Routes, HealthNeedsNoTokenTheOthersDo) {
  Edge edge;
  edge.send_token = false;
  EXPECT_EQ(edge.request("GET", "/health").status, 204);
  for (const char* path : {"/metrics", "/envs"}) {
    const auto refused = edge.request("GET", path);
    EXPECT_EQ(refused.status, 401) << path;
    EXPECT_EQ(code_of(refused.body), 401) << refused.body;
  }
  EXPECT_EQ(edge.request("POST", "/process.Process/List", "{}", "application/json").status, 401);
  EXPECT_EQ(edge.request("POST", "/filesystem.Filesystem/Stat", "{}", "application/json").status, 401);
  edge.extra_headers = {{"x-access-token", "0123456789abcdee"}};
  EXPECT_EQ(edge.request("GET", "/envs").status, 401);
  edge.extra_headers.clear();
  edge.send_token = true;
  EXPECT_EQ(edge.request("GET", "/envs").status, 200);
}

TEST(Routes, EnvsAndMetrics) {
  Edge edge;
  const auto envs = parse_json(edge.request("GET", "/envs").body);
  ASSERT_TRUE(envs.ok());
  EXPECT_EQ(envs->as_object().at("E2B_SANDBOX_ID").as_string(), "itest");
  EXPECT_EQ(envs->as_object().at("FROM_CREATE").as_string(), "yes");
  const auto body = edge.request("GET", "/metrics").body;
  const auto metrics = parse_json(body);
  ASSERT_TRUE(metrics.ok()) << body;
  EXPECT_EQ(metrics->as_object().at("cpu_count").as_int64(), 2);
  EXPECT_EQ(metrics->as_object().at("mem_total").as_int64(), 268'435'456);
  EXPECT_EQ(metrics->as_object().at("mem_total_mib").as_int64(), 256);
  for (const char* field : {"ts", "mem_used", "mem_used_mib", "disk_used", "disk_total"})
    EXPECT_GE(metrics->as_object().at(field).as_int64(), 0) << field;
  EXPECT_GE(metrics->as_object().at("mem_cache").as_int64(), 0);
  EXPECT_TRUE(metrics->as_object().at("cpu_used_pct").is_number());
}

TEST(Routes, TheRestIsRefusedInJson) {
  Edge edge;
  for (const char* path : {"/", "/init", "/freeze", "/nothing", "/process.Other/List"}) {
    const auto reply = edge.request("GET", path);
    EXPECT_EQ(reply.status, 404) << path;
    EXPECT_EQ(code_of(reply.body), 404) << path;
  }
  EXPECT_EQ(edge.request("POST", "/init", "{}").status, 404);
  EXPECT_EQ(edge.request("POST", "/process.Process/Nothing", "{}", "application/json").status, 404);
  EXPECT_EQ(edge.request("GET", "/process.Process/List").status, 405);
  EXPECT_EQ(edge.request("POST", "/process.Process/List", "{}", "text/plain").status, 415);
  EXPECT_EQ(edge.request("POST", "/process.Process/List", "{}", "application/connect+json").status, 415);
  EXPECT_EQ(edge.request("POST", "/process.Process/Start", "{}", "application/json").status, 415);
  EXPECT_EQ(edge.request("POST", "/process.Process/List", "{", "application/json").code, "invalid_argument");
  edge.extra_headers = {{"content-encoding", "identity"}, {"accept-encoding", "identity"}};
  EXPECT_EQ(edge.request("POST", "/process.Process/List", "{}", "application/json; charset=utf-8").body,
            "{}");
}

// A listener of the sandbox's own: takes one connection, echoes until its end, then says bye.
Task<bool> echo_once(tcp::acceptor& acceptor) {
  auto socket = co_await acceptor.async_accept(asio::use_awaitable);
  char buffer[4096];
  for (;;) {
    const auto [error, n] =
        co_await socket.async_read_some(asio::buffer(buffer), asio::as_tuple(asio::use_awaitable));
    if (error) break;
    co_await asio::async_write(socket, asio::buffer(buffer, n), asio::use_awaitable);
  }
  co_await asio::async_write(socket, asio::buffer("bye", 3), asio::use_awaitable);
  co_return true;
}

std::unique_ptr<rpc::ClientExchange> open_tunnel(Edge& edge, std::uint16_t port) {
  rpc::RequestHead head;
  head.method = "CONNECT";
  head.authority = "127.0.0.1:" + std::to_string(port);
  auto opened = edge.loop().await(edge.client().open(std::move(head), true));
  EXPECT_TRUE(opened.ok());
  return std::move(*opened);
}

class Tunnel : public ::testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Families, Tunnel, ::testing::Values("127.0.0.1", "::1"),
                         [](const auto& param) { return param.index == 0 ? "V4" : "V6"; });

TEST_P(Tunnel, RelaysBothWaysWithHalfClose) {
  Edge edge;
  tcp::acceptor acceptor(edge.loop().io());
  boost::system::error_code error;
  const tcp::endpoint any(asio::ip::make_address(GetParam()), 0);
  acceptor.open(any.protocol(), error);
  if (!error) acceptor.bind(any, error);
  if (error) GTEST_SKIP() << "needs " << GetParam() << ": " << error.message();
  acceptor.listen();
  bool served = false;
  asio::co_spawn(edge.loop().io(), echo_once(acceptor), [&](std::exception_ptr e, bool) { served = !e; });
  auto tunnel = open_tunnel(edge, acceptor.local_endpoint().port());
  const auto head = edge.loop().await(tunnel->head());
  ASSERT_TRUE(head.ok());
  ASSERT_EQ(head->status, 200);
  const std::string sent = random_bytes(3'000'000);
  std::string got;
  auto exchange = [](rpc::ClientExchange& t, const std::string& out, std::string& in) -> Task<bool> {
    char buffer[16384];
    for (std::size_t at = 0; at < out.size(); at += 10'000) {
      const std::string piece = out.substr(at, 10'000);
      if (!(co_await t.write(piece)).ok()) co_return false;
      while (in.size() < at + piece.size()) {
        const auto n = co_await t.read_some(buffer);
        if (!n.ok() || *n == 0) co_return false;
        in.append(buffer, *n);
      }
    }
    if (!(co_await t.finish_body()).ok()) co_return false;
    for (;;) {
      const auto n = co_await t.read_some(buffer);
      if (!n.ok()) co_return false;
      if (*n == 0) co_return true;
      in.append(buffer, *n);
    }
  };
  EXPECT_TRUE(edge.loop().await(exchange(*tunnel, sent, got)));
  EXPECT_EQ(got, sent + "bye") << got.size();
  EXPECT_TRUE(served);
}

TEST(Tunnels, NobodyListensIs502InJson) {
  Edge edge;
  tcp::acceptor acceptor(edge.loop().io(), tcp::endpoint(asio::ip::address_v4::loopback(), 0));
  const auto port = acceptor.local_endpoint().port();
  acceptor.close();
  auto tunnel = open_tunnel(edge, port);
  const auto head = edge.loop().await(tunnel->head());
  ASSERT_TRUE(head.ok());
  EXPECT_EQ(head->status, 502);
  const auto body = edge.loop().await(rpc::read_all(*tunnel, 4096));
  ASSERT_TRUE(body.ok());
  EXPECT_EQ(code_of(*body), 502);
  EXPECT_NE(body->find("port is not open"), std::string::npos);
}

TEST(Tunnels, OnlyTheLoopbackIsReached) {
  EXPECT_EQ(tunnel_port("127.0.0.1:8080"), 8080);
  for (std::string_view wrong : {"127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:", "127.0.0.1:80x",
                                 "10.0.0.1:80", "localhost:80", "127.0.0.1", "", "127.0.0.1:-1"})
    EXPECT_FALSE(tunnel_port(wrong).has_value()) << wrong;
}

TEST(Channel, ALostOneIsDialledAgainAndCommandsGoOn) {
  Edge edge;
  Events cat = edge.shell("cat", true);
  Events waiting = edge.shell("sleep 60", true);
  ::process::SendInputRequest stuck;
  stuck.mutable_process()->set_pid(waiting.pid);
  stuck.mutable_input()->set_stdin(std::string(200'000, 'x'));
  for (int round = 0; round < 3; ++round) {
    // An input that cannot be written must not hold up the next dial.
    auto pending = edge.open_stream("StreamInput");
    ::process::StreamInputRequest message;
    *message.mutable_start()->mutable_process() = stuck.process();
    edge.send_frame(*pending, message);
    *message.mutable_data()->mutable_input() = stuck.input();
    edge.send_frame(*pending, message);
    edge.drop_connection();
    edge.accept();
    EXPECT_EQ(edge.request("GET", "/health").status, 204);
  }
  ::process::ConnectRequest request;
  request.mutable_process()->set_pid(cat.pid);
  Events again = edge.stream("Connect", request);
  ::process::SendInputRequest input;
  input.mutable_process()->set_pid(cat.pid);
  input.mutable_input()->set_stdin("survived");
  ::process::SendInputResponse reply;
  EXPECT_EQ(edge.unary("SendInput", input, reply).status, 200);
  EXPECT_TRUE(again.read_until("survived"));
}

TEST(Channel, SignalsFromInsideDoNotEndTheAgent) {
  Edge edge;
  for (int number : {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGPIPE, SIGUSR1, SIGALRM})
    ::kill(edge.agent(), number);
  EXPECT_EQ(edge.request("GET", "/health").status, 204);
  Events run = edge.shell("kill -TERM $$; echo not reached");
  run.drain();
  EXPECT_EQ(run.end->status(), "signal: terminated") << "a command gets the default actions";
  EXPECT_EQ(run.out, "");
}

TEST(Channel, ACommandHoldsNoDescriptorOfTheAgent) {
  Edge edge;
  Events run = edge.shell("ls -l /proc/self/fd | grep -c socket; ls /proc/self/fd | wc -l");
  run.drain();
  EXPECT_EQ(run.out, "0\n4\n") << "the three streams, and the folder that ls reads";
}

TEST(EmptyRoot, TheAgentServesWhereNothingElseIs) {
  NEEDS(root);
  if (kSanitized) GTEST_SKIP() << "needs the static agent";
  char name[] = "/tmp/atoll-agent-root-XXXXXX";
  const std::string root = ::mkdtemp(name);
  {
    Edge edge("", root);
    EXPECT_EQ(edge.request("GET", "/health").status, 204);
    EXPECT_EQ(edge.request("GET", "/metrics").status, 200);
    // No shell, no /dev, no /etc/passwd: the failure is told as such.
    ::process::StartRequest request;
    request.mutable_process()->set_cmd("sh");
    Events missing = edge.started(request);
    missing.drain();
    EXPECT_EQ(missing.error(), "not_found") << missing.end_frame();
    // Any static program runs; the agent is one, and refuses an empty boot config.
    char self[4096] = {};
    ASSERT_GT(::readlink(("/proc/" + std::to_string(edge.agent()) + "/exe").c_str(), self, sizeof self - 1),
              0);
    std::string program = *read_file(self, 64u << 20);
    ASSERT_TRUE(write_file_atomic(root + "/program", program, 0755).ok());
    request.mutable_process()->set_cmd("/program");
    Events run = edge.started(request);
    ::process::CloseStdinRequest close;
    close.mutable_process()->set_pid(run.pid);
    ::process::CloseStdinResponse closed;
    EXPECT_EQ(edge.unary("CloseStdin", close, closed).status, 200);
    run.drain();
    ASSERT_TRUE(run.end.has_value()) << run.end_frame();
    EXPECT_EQ(run.end->exit_code(), 1);
    EXPECT_NE(run.err.find("no start"), std::string::npos) << run.err;
  }
  ASSERT_TRUE(remove_tree(root).ok());
}

// A root with one static program (busybox) in a pid, network and host name namespace of its own.
TEST(Process1, DoesItsDuties) {
  NEEDS(root);
  if (kSanitized) GTEST_SKIP() << "needs the static agent";
  if (::access("/usr/bin/busybox", X_OK) != 0) GTEST_SKIP() << "needs /usr/bin/busybox (static)";
  char name[] = "/tmp/atoll-agent-init-XXXXXX";
  const std::string root = ::mkdtemp(name);
  const auto busybox = read_file("/usr/bin/busybox", 64u << 20);
  ASSERT_TRUE(make_dirs(root + "/bin", 0755).ok() && make_dirs(root + "/proc", 0755).ok());
  ASSERT_TRUE(write_file_atomic(root + "/bin/busybox", *busybox, 0755).ok());
  for (const char* applet : {"sh", "mount", "hostname", "ifconfig", "sleep"})
    ASSERT_EQ(::symlink("busybox", (root + "/bin/" + applet).c_str()), 0);
  {
    Edge edge(R"(,"defaultUser":"root")", root, true);
    EXPECT_EQ(*read_file(root + "/run/e2b/.E2B_SANDBOX_ID", 100), "itest");
    Events run = edge.shell(
        "mount -t proc proc /proc; hostname; echo $$ $PPID; read -r comm < /proc/1/comm; echo $comm; "
        "ifconfig lo;"
        "kill -TERM 1; kill -INT 1; kill -STOP 1; for i in 1 2 3; do (sleep 0.1 &) ; done; echo done");
    run.drain();
    ASSERT_TRUE(run.end.has_value()) << run.end_frame();
    EXPECT_EQ(run.end->exit_code(), 0) << run.err;
    EXPECT_NE(run.out.find("itest\n"), std::string::npos) << run.out << run.err;
    EXPECT_NE(run.out.find(std::to_string(run.pid) + " 1\natoll-agent\n"), std::string::npos)
        << run.out << run.err;
    EXPECT_NE(run.out.find("UP LOOPBACK RUNNING"), std::string::npos) << run.out << run.err;
    EXPECT_NE(run.out.find("done\n"), std::string::npos);
    EXPECT_EQ(edge.request("GET", "/health").status, 204) << "signals from inside do not end it";
    const auto wait = [&] { return edge.shell("sleep 0.05").drain(); };
    std::string zombies = "?";
    for (int i = 0; i < 100 && !zombies.empty(); ++i) {
      wait();
      Events look = edge.shell(
          "for p in /proc/[0-9]*/stat; do read -r l < $p; case $l in *') Z '*) echo $l;; esac; done");
      look.drain();
      zombies = look.out;
    }
    EXPECT_EQ(zombies, "") << "orphans are collected";
  }
  ASSERT_TRUE(remove_tree(root).ok());
}

TEST(Init, MarkersAreWrittenBelowTheRoot) {
  char name[] = "/tmp/atoll-agent-markers-XXXXXX";
  const std::string root = ::mkdtemp(name);
  BootConfig boot;
  boot.sandbox_id = "i1";
  boot.template_id = "base";
  ASSERT_TRUE(write_markers(boot, root).ok());
  ASSERT_TRUE(write_markers(boot, root).ok()) << "again, as after a restart";
  EXPECT_EQ(*read_file(root + "/run/e2b/.E2B_SANDBOX", 100), "true");
  EXPECT_EQ(*read_file(root + "/run/e2b/.E2B_SANDBOX_ID", 100), "i1");
  EXPECT_EQ(*read_file(root + "/run/e2b/.E2B_TEMPLATE_ID", 100), "base");
  EXPECT_EQ(*read_file(root + "/.e2b", 100), "ENV_ID=base\nTEMPLATE_ID=base\n");
  ASSERT_TRUE(remove_tree(root).ok());
}

TEST(MetricsSample, ReadsCgroupFilesElseSumsProcesses) {
  char name[] = "/tmp/atoll-agent-metrics-XXXXXX";
  const std::string root = ::mkdtemp(name);
  const auto put = [&](const std::string& path, std::string_view text) {
    ASSERT_TRUE(make_dirs((root + path).substr(0, (root + path).rfind('/')), 0755).ok());
    ASSERT_TRUE(write_file_atomic(root + path, text, 0644).ok());
  };
  put("/v2/cpu.stat", "usage_usec 5000\nuser_usec 1\n");
  put("/v2/memory.current", "1000000\n");
  put("/v2/memory.stat", "anon 600000\nfile 400000\nfile_mapped 7\n");
  put("/v1/cpuacct/cpuacct.usage", "7000000\n");
  put("/v1/memory/memory.usage_in_bytes", "2000000\n");
  put("/v1/memory/memory.stat", "cache 1\ntotal_cache 500000\n");
  put("/proc/1/stat", "1 (a ) b) S 0 1 1 0 -1 4194560 1 2 3 4 10 20 30 40 20 0 1 0 5\n");
  put("/proc/1/statm", "1000 300 100 1 0 50 0\n");
  put("/proc/7/stat", "7 (x) R 1 7 7 0 -1 0 0 0 0 0 1 2 3 4 20 0\n");
  put("/proc/7/statm", "1000 30 10 1 0 50 0\n");
  put("/proc/version", "x");
  Sample sample = take_sample({root + "/v2", root + "/proc", "/"});
  EXPECT_EQ(sample.cpu_usec, 5000);
  EXPECT_EQ(sample.memory_used, 600'000);
  EXPECT_EQ(sample.memory_cache, 400'000);
  sample = take_sample({root + "/v1", root + "/proc", "/"});
  EXPECT_EQ(sample.cpu_usec, 7000);
  EXPECT_EQ(sample.memory_used, 1'500'000);
  sample = take_sample({root + "/none", root + "/proc", "/"});
  EXPECT_EQ(sample.cpu_usec, 110 * (1'000'000 / ::sysconf(_SC_CLK_TCK)));
  EXPECT_EQ(sample.memory_used, 220 * ::sysconf(_SC_PAGESIZE));
  ASSERT_TRUE(remove_tree(root).ok());
}

}  // namespace
}  // namespace atl::agent
