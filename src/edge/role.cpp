#include "edge/role.h"

#include <boost/asio/signal_set.hpp>

#include "base/fs.h"
#include "edge/node_link.h"
#include "edge/proxy.h"
#include "edge/supervisor_link.h"
#include "rpc/http1.h"

namespace atl::edge {
namespace {

constexpr Millis kGrace{3000};
constexpr std::size_t kApiConnectionsMax = 512;

std::string endpoint_text(const std::string& host, std::uint16_t port) {
  const bool v6 = host.find(':') != std::string::npos;
  return (v6 ? "[" + host + "]" : host) + ":" + std::to_string(port) + "\n";
}

// Everything of the role, built once. Destroyed in reverse order.
struct Edge {
  explicit Edge(const Config& settings)
      : config(settings),
        link(io.get_executor(), config.paths.channels_socket()),
        registry(io.get_executor(), clock, [this](std::string packet) { link.say(std::move(packet)); }),
        api(rpc::http1_client(io.get_executor(), api_target(), kApiConnectionsMax, Millis(2000))),
        proxy(registry, *api),
        server(io.get_executor(), rpc::Http1Limits{}, [this](rpc::Exchange& e) { return proxy.handle(e, {}); }),
        secure_door{.domain = config.domain, .secure = true},
        tls(io.get_executor(), config.domain, clock,
            [this](rpc::Exchange& e) { return proxy.handle(e, secure_door); }) {}

  rpc::Http1Target api_target() const {
    rpc::Http1Target target;
    target.unix_path = config.paths.api_socket();
    return target;
  }

  Config config;
  asio::io_context io{1};
  SystemClock clock;
  NodeLink link;
  ChannelRegistry registry;
  std::unique_ptr<rpc::Client> api;
  Proxy proxy;
  rpc::Http1Server server;
  Door secure_door;
  TlsDoor tls;
  std::shared_ptr<PacketSocket> supervisor;
};

Task<void> stop_on_signal(Edge& edge) {
  using namespace asio::experimental::awaitable_operators;
  asio::signal_set signals(edge.io, SIGTERM, SIGINT);
  co_await signals.async_wait(asio::as_tuple(asio::use_awaitable));
  log_info("stopping");
  edge.link.stop();
  co_await (edge.server.stop(kGrace) && edge.tls.stop(kGrace));
  edge.io.stop();
}

// With port 0: the port that an edge before this one had, so that clients find it again after a
// restart; 0 where there was none.
std::uint16_t port_before(const Config& config) {
  const auto text = read_file(config.paths.endpoint_file(), 1024);
  if (!text.ok()) return 0;
  const auto colon = text->rfind(':');
  if (colon == text->npos) return 0;
  return parse_port(std::string_view(*text).substr(colon + 1, text->find('\n', colon) - colon - 1))
      .value_or(0);
}

Result<std::uint16_t> listen(Edge& edge) {
  const Config& config = edge.config;
  const std::uint16_t before = config.listen_port == 0 ? port_before(config) : 0;
  if (before != 0) {
    auto again = edge.server.listen_tcp(config.listen_host, before);
    if (again.ok()) return again;
  }
  return edge.server.listen_tcp(config.listen_host, config.listen_port);
}

Status start(Edge& edge) {
  TRY(const std::uint16_t port, listen(edge));
  edge.link.start(edge.registry);
  const std::string text = endpoint_text(edge.config.listen_host, port);
  CHECK_OK(write_file_atomic(edge.config.paths.endpoint_file(), text, 0644));
  log_info("edge listens", {{"endpoint", text.substr(0, text.size() - 1)}});
  return ok();
}

}  // namespace

int run_edge(const Config& config, UniqueFd supervisor) {
  Edge edge(config);
  if (const auto started = start(edge); !started.ok()) {
    log_error("edge cannot start", {{"error", started.error().message}});
    return 1;
  }
  if (supervisor.valid()) {
    edge.supervisor = std::make_shared<PacketSocket>(edge.io.get_executor(), std::move(supervisor));
    spawn(edge.io.get_executor(), "supervisor", follow_supervisor(edge.supervisor, edge.tls));
  }
  spawn(edge.io.get_executor(), "signals", stop_on_signal(edge));
  edge.io.run();
  return 0;
}

}  // namespace atl::edge
