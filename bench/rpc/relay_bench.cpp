// What the rpc layer gives on this machine, alone: uploads through HTTP/1.1 server -> HTTP/2 client ->
// HTTP/2 server (the edge's and the agent's loops are two threads), downloads back, and unary round
// trips on both protocols.
//   relay_bench [MEGABYTES] [ROUND_TRIPS]
#include <sys/socket.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "rpc/http1.h"
#include "rpc/http2.h"

namespace {

using namespace atl;
using namespace atl::rpc;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

Task<void> agent(Exchange& exchange) {
  const std::string target = exchange.request().target;
  ReplyHead head;
  if (target.starts_with("/down/")) {
    std::uint64_t left = std::strtoull(target.c_str() + 6, nullptr, 10);
    head.content_length = left;
    const std::string piece(256 * 1024, 'd');
    Status sent = co_await exchange.start(std::move(head));
    while (sent.ok() && left > 0) {
      const std::size_t n = std::min<std::uint64_t>(left, piece.size());
      sent = co_await exchange.write(std::string_view(piece).substr(0, n));
      left -= n;
    }
    if (sent.ok()) sent = co_await exchange.finish();
    co_return;
  }
  std::vector<char> buffer(256 * 1024);
  std::uint64_t total = 0;
  for (;;) {
    const auto n = co_await exchange.body().read_some(buffer);
    if (!n.ok() || *n == 0) break;
    total += *n;
  }
  const Status sent = co_await exchange.reply(std::move(head), std::to_string(total));
  (void)sent.ok();
}

Task<void> relay(Exchange& exchange, std::shared_ptr<Http2Client> upstream) {
  RequestHead head = exchange.request();
  auto opened = co_await upstream->open(std::move(head), exchange.has_body());
  if (!opened.ok()) co_return;
  std::vector<char> buffer(256 * 1024);
  while (exchange.has_body()) {
    const auto n = co_await exchange.body().read_some(buffer);
    if (!n.ok() || *n == 0) break;
    const Status sent = co_await (*opened)->write({buffer.data(), *n});
    if (!sent.ok()) co_return;
  }
  if (exchange.has_body()) {
    const Status finished = co_await (*opened)->finish_body();
    (void)finished.ok();
  }
  auto reply = co_await (*opened)->head();
  if (!reply.ok()) co_return;
  Status sent = co_await exchange.start(std::move(*reply));
  while (sent.ok()) {
    const auto n = co_await (*opened)->read_some(buffer);
    if (!n.ok() || *n == 0) break;
    sent = co_await exchange.write({buffer.data(), *n});
  }
  if (sent.ok()) sent = co_await exchange.finish();
}

Task<void> measure_bytes(Client& client, std::uint64_t bytes) {
  const std::string piece(256 * 1024, 'u');
  RequestHead up;
  up.method = "POST";
  up.target = "/up";
  up.authority = "bench";
  up.content_length = bytes;
  auto start = Clock::now();
  auto sending = co_await client.open(std::move(up), true);
  for (std::uint64_t left = bytes; left > 0;) {
    const std::size_t n = std::min<std::uint64_t>(left, piece.size());
    const Status sent = co_await (*sending)->write(std::string_view(piece).substr(0, n));
    if (!sent.ok()) co_return;
    left -= n;
  }
  const Status finished = co_await (*sending)->finish_body();
  const auto counted = co_await read_all(**sending, 100);
  const bool right = finished.ok() && counted.ok() && *counted == std::to_string(bytes);
  std::printf("upload   %8.0f MB/s%s\n", static_cast<double>(bytes) / 1e6 / seconds_since(start),
              right ? "" : "  WRONG COUNT");

  RequestHead down;
  down.method = "GET";
  down.target = "/down/" + std::to_string(bytes);
  down.authority = "bench";
  start = Clock::now();
  auto receiving = co_await client.open(std::move(down), false);
  std::vector<char> buffer(256 * 1024);
  std::uint64_t total = 0;
  for (;;) {
    const auto n = co_await (*receiving)->read_some(buffer);
    if (!n.ok() || *n == 0) break;
    total += *n;
  }
  std::printf("download %8.0f MB/s%s\n", static_cast<double>(total) / 1e6 / seconds_since(start),
              total == bytes ? "" : "  CUT");
}

Task<void> measure_unary(Client& client, int count, const char* what) {
  std::vector<double> micros;
  for (int i = 0; i < count; ++i) {
    RequestHead head;
    head.method = "POST";
    head.target = "/unary";
    head.authority = "bench";
    const auto start = Clock::now();
    const auto reply = co_await call(client, std::move(head), std::string(200, 'q'), 1000, Millis(5000));
    if (reply.ok()) micros.push_back(seconds_since(start) * 1e6);
  }
  if (micros.empty()) co_return;
  std::sort(micros.begin(), micros.end());
  std::printf("%s p50 %.0f us, p99 %.0f us (%zu of %d)\n", what, micros[micros.size() / 2],
              micros[micros.size() * 99 / 100], micros.size(), count);
}

Task<void> client_side(std::uint16_t port, Client& direct, std::uint64_t bytes, int trips,
                       asio::io_context& loop) {
  auto client = http1_client(loop.get_executor(), {.host = "127.0.0.1", .port = port}, 8, Millis(2000));
  for (int i = 0; i < 3; ++i) co_await measure_bytes(*client, bytes);
  co_await measure_unary(*client, trips, "relayed (HTTP/1.1, HTTP/2)");
  co_await measure_unary(direct, trips, "HTTP/2 alone");
  loop.stop();
}

}  // namespace

int main(int argc, char** argv) {
  const std::uint64_t megabytes = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1000;
  const int trips = argc > 2 ? std::atoi(argv[2]) : 5000;
  asio::io_context agents(1), edge(1), clients(1);
  auto pair = [](asio::io_context& a, asio::io_context& b) {
    int fds[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) std::abort();
    const asio::generic::stream_protocol protocol(AF_UNIX, 0);
    return std::pair(Socket(a, protocol, fds[0]), Socket(b, protocol, fds[1]));
  };
  auto [agent_end, edge_end] = pair(agents, edge);
  auto [agent_end2, client_end] = pair(agents, clients);
  spawn(agents.get_executor(), "agent", serve_http2(std::move(agent_end), {}, agent));
  spawn(agents.get_executor(), "agent 2", serve_http2(std::move(agent_end2), {}, agent));
  auto upstream = http2_client(std::move(edge_end), {}, [] {});
  Http1Server server(edge.get_executor(), {},
                     [upstream](Exchange& exchange) { return relay(exchange, upstream); });
  const auto port = server.listen_tcp("127.0.0.1", 0);
  if (!port.ok()) std::abort();
  auto direct = http2_client(std::move(client_end), {}, [] {});
  spawn(clients.get_executor(), "client", client_side(*port, *direct, megabytes * 1'000'000, trips, clients));
  std::thread agent_thread([&] { agents.run(); }), edge_thread([&] { edge.run(); });
  clients.run();
  agents.stop();
  edge.stop();
  agent_thread.join();
  edge_thread.join();
  return 0;
}
