#include "node/role.h"

#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/signal_set.hpp>
#include <thread>

#include "base/fs.h"
#include "isolation/oci/host_namespace.h"
#include "node/drivers.h"
#include "node/node.h"
#include "node/service.h"
#include "rpc/http1.h"

namespace atl::node {
namespace {

constexpr std::size_t kPoolThreads = 8;
constexpr Millis kTick{100};
constexpr Millis kGrace{3000};
constexpr Millis kTidyWait{5000};
constexpr std::chrono::seconds kLockWait{20};

rpc::Http1Limits service_limits() {
  rpc::Http1Limits limits;
  limits.connections_max = 1024;
  return limits;
}

// Everything of the role, built once. Destroyed in reverse order; the pool's threads end first.
struct Role {
  Role(const Config& settings, asio::thread_pool& threads, Drivers drivers)
      : config(settings),
        pool(threads),
        hub(io.get_executor(), clock, config.edge_uid),
        tiers(std::move(drivers.open), std::move(drivers.missing)),
        node(NodeParts{config, io.get_executor(), pool, clock, tiers, hub}),
        service(node, tiers),
        server(io.get_executor(), service_limits(), [this](rpc::Exchange& e) { return service.handle(e); }) {}

  const Config& config;
  asio::thread_pool& pool;
  asio::io_context io{1};
  SystemClock clock;
  ChannelHub hub;
  Tiers tiers;
  Node node;
  NodeService service;
  rpc::Http1Server server;
  std::optional<UnixListener> listener;
  bool stopping = false;
  int exit_status = 0;
};

Task<void> accept_api(Role& role) {
  for (;;) {
    auto fd = co_await role.listener->accept();
    if (!fd.ok()) co_return;
    const auto peer = peer_of(fd->get());
    if (!peer.ok() || (peer->uid != role.config.api_uid && peer->uid != 0)) {
      log_warn("node.sock: foreign peer", {{"uid", peer.ok() ? peer->uid : 0}});
      continue;
    }
    role.server.serve(rpc::Socket(role.io, asio::generic::stream_protocol(AF_UNIX, 0), fd->release()));
  }
}

Status listen(Role& role) {
  const std::string path = role.config.paths.node_socket();
  TRY(UnixListener listener, UnixListener::open(role.io.get_executor(), path, SOCK_STREAM, 0600));
  if (::chown(path.c_str(), role.config.api_uid, role.config.api_uid) != 0) return os_error("chown", path);
  role.listener.emplace(std::move(listener));
  CHECK_OK(role.hub.listen(role.config.paths.channels_socket()));
  return ok();
}

Task<void> keep_time(Role& role) {
  while (!role.stopping) {
    role.node.tick();
    co_await sleep_for(kTick);
  }
}

Task<void> keep_usage(Role& role) {
  while (!role.stopping) {
    co_await role.node.sample_all();
    co_await sleep_for(UsageRing::kPeriod);
  }
}

// Adoption comes before the probes, which would look like something without a journal, and before
// the sockets, so that nobody sees half a picture.
Task<void> begin(Role& role) {
  auto status = co_await role.node.adopt();
  if (status.ok()) status = listen(role);
  if (!status.ok()) {
    log_error("node cannot start", {{"error", status.error().message}});
    role.exit_status = 1;
    role.io.stop();
    co_return;
  }
  role.tiers.start_probes(role.io.get_executor());
  spawn(role.io.get_executor(), "node.sock", accept_api(role));
  spawn(role.io.get_executor(), "time limits", keep_time(role));
  spawn(role.io.get_executor(), "usage", keep_usage(role));
  log_info("node is ready", {{"sandboxes", role.node.list().size()}});
}

Task<void> stop_on_signal(Role& role) {
  asio::signal_set signals(role.io, SIGTERM, SIGINT, SIGUSR1);
  const auto [error, signal] = co_await signals.async_wait(asio::as_tuple(asio::use_awaitable));
  log_info("stopping", {{"signal", signal}});
  role.stopping = true;
  if (role.listener) role.listener->close();
  if (signal == SIGUSR1) co_await role.node.destroy_all("killed");
  role.node.close_subscribers();
  co_await role.server.stop(kGrace);
  // What is killed is not left untidy for a next start that may never come.
  co_await role.node.wait_tidied(kTidyWait);
  role.hub.stop();
  role.io.stop();
}

// Two nodes on one folder would fight over every sandbox. An earlier one may still be stopping.
Result<UniqueFd> lock_node_dir(const Config& config) {
  const std::string path = config.paths.node_dir() + "/lock";
  TRY(UniqueFd fd, open_fd(path, O_RDWR | O_CREAT, 0600));
  const auto until = std::chrono::steady_clock::now() + kLockWait;
  while (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (std::chrono::steady_clock::now() > until)
      return make_error(Errc::conflict,
                        path + ": another node uses this folder; stop it, or choose another --root");
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  return fd;
}

Status prepare(const Config& config) {
  CHECK_OK(make_dirs(config.paths.sandboxes_dir(), 0755));
  CHECK_OK(make_dirs(config.paths.disks_dir(), 0700));
  if (::chmod(config.paths.node_dir().c_str(), 0700) != 0) return os_error("chmod", config.paths.node_dir());
  return isolation::enter_private_mount_namespace();
}

}  // namespace

int run_node(const Config& config) {
  if (const auto ready = prepare(config); !ready.ok()) {
    log_error("node cannot start", {{"error", ready.error().message}});
    return 1;
  }
  auto lock = lock_node_dir(config);
  if (!lock.ok()) {
    log_error("node cannot start", {{"error", lock.error().message}});
    return 1;
  }
  asio::thread_pool pool(kPoolThreads);
  Role role(config, pool, open_drivers(config, pool));
  spawn(role.io.get_executor(), "signals", stop_on_signal(role));
  spawn(role.io.get_executor(), "start", begin(role));
  role.io.run();
  pool.join();
  return role.exit_status;
}

}  // namespace atl::node
