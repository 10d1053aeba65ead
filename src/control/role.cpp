#include "control/role.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/signal_set.hpp>

#include "base/clock.h"
#include "base/crypto.h"
#include "base/fs.h"
#include "base/log.h"
#include "control/api.h"
#include "control/key_ring.h"
#include "rpc/http1.h"
#include "store/sqlite/sqlite_store.h"

namespace atl::control {
namespace {

constexpr std::size_t kSeedBytes = 32;
constexpr Millis kGrace{10'000};
constexpr Millis kFirstSync{3000};  // then it listens, with or without the node
// The socket lies in a folder of the api's own. It is not secret: every request still needs a key.
constexpr unsigned kSocketMode = 0666;

// All tokens of sandboxes are derived from it, so a lost one would lock clients out of theirs: it is
// never made anew where there is a damaged one.
Result<std::string> load_seed(const std::string& path) {
  if (exists(path)) {
    TRY(auto seed, read_file(path, kSeedBytes + 1));
    if (seed.size() == kSeedBytes) return seed;
    return make_error(Errc::internal, "seed " + path + ": " + std::to_string(seed.size()) + " bytes found, 32 expected; " +
                                          "restore it, or remove it once no sandbox runs");
  }
  std::string seed = random_bytes(kSeedBytes);
  CHECK_OK(write_file_atomic(path, seed, 0600));
  return seed;
}

rpc::Http1Limits server_limits() {
  rpc::Http1Limits limits;
  limits.connections_max = 4096;
  return limits;
}

Task<void> stop_on_signal(asio::io_context& loop, rpc::Http1Server& server, Api& api) {
  asio::signal_set signals(loop, SIGTERM, SIGINT);
  co_await signals.async_wait(asio::use_awaitable);
  log_info("stopping");
  co_await server.stop(kGrace);
  co_await api.stop();
  loop.stop();
}

Task<void> serve(const Config& config, asio::io_context& loop, rpc::Http1Server& server, Api& api, int& exit_status) {
  auto started = co_await api.start();
  if (started.ok()) started = server.listen_unix(config.paths.api_socket(), kSocketMode);
  if (started.ok()) {
    log_info("listening", {{"socket", config.paths.api_socket()}});
    co_return;
  }
  log_error("api cannot start", {{"error", started.error().message}});
  exit_status = 1;
  loop.stop();
}

Result<int> run(const Config& config) {
  CHECK_OK(make_dirs(config.paths.store_dir(), 0700));
  TRY(auto seed, load_seed(config.paths.seed_file()));
  TRY(const auto records, store::open_sqlite_store(config.paths.store_file()));
  asio::io_context loop(1);
  const SystemClock clock;
  const auto node = http_node_client(loop.get_executor(), config.paths.node_socket());
  ApiOptions options;
  options.seed = std::move(seed);
  options.templates_dir = config.paths.templates_dir();
  if (!config.domain.empty()) options.domain = config.public_domain();
  options.first_sync = kFirstSync;
  Api api(loop.get_executor(), std::move(options), *records, *node, clock);
  rpc::Http1Server server(loop.get_executor(), server_limits(),
                          [&api](rpc::Exchange& exchange) { return api.handle(exchange); });
  int exit_status = 0;
  spawn(loop.get_executor(), "signals", stop_on_signal(loop, server, api));
  spawn(loop.get_executor(), "start", serve(config, loop, server, api, exit_status));
  loop.run();
  // A request that outlasted the grace waits for the node. Its frame must not outlive what it uses, and
  // an end at any moment is safe: the next start closes what it left.
  if (!api.idle()) ::_exit(exit_status);
  return exit_status;
}

}  // namespace

int run_api(const Config& config) {
  ::umask(0077);
  log_configure("api", Level::info);
  const auto status = run(config);
  if (status.ok()) return *status;
  log_error("api cannot start", {{"error", status.error().message}});
  return 1;
}

Result<std::string> bootstrap_default_project(const Config& config) {
  CHECK_OK(make_dirs(config.paths.store_dir(), 0700));
  TRY(const auto records, store::open_sqlite_store(config.paths.store_file()));
  return bootstrap_project(*records, "default", unix_millis(SystemClock().wall()));
}

}  // namespace atl::control
