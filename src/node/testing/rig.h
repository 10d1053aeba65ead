#pragma once
#include <stdlib.h>
#include <sys/socket.h>

#include <set>

#include "base/fs.h"
#include "node/node.h"

namespace atl::node::testing {

// What "the host" has: it outlives nodes, as the kernel does.
struct Host {
  std::map<std::string, ProcessId> running;  // by id
  std::set<std::string> traces;              // anything of an id left on the host
  std::set<std::uint32_t> uid_bases;
  isolation::Usage usage;
  DiskSpace disk{1ll << 40, 1ll << 39};
  int starts = 0, kills = 0, destroys = 0;
  bool refuse_start = false, refuse_kill = false, refuse_destroy = false;
  std::function<void(std::string_view)> step = [](std::string_view) {};  // may throw: a crash
};

// A driver in memory. Its sandboxes' process 1 is this test's own process, which does not end.
class HostDriver final : public isolation::Driver {
 public:
  HostDriver(Host& host, isolation::Tier tier, isolation::Probe probe)
      : host_(host), tier_(tier), probe_(std::move(probe)) {}
  isolation::Tier tier() const override { return tier_; }
  Task<isolation::Probe> probe() override { co_return probe_; }
  Task<Result<isolation::Started>> start(isolation::Spec spec) override {
    ++host_.starts;
    host_.traces.insert(spec.id);
    host_.step("driver: half started");
    if (host_.refuse_start) {
      host_.traces.erase(spec.id);
      co_return make_error(Errc::internal, "the runtime said no");
    }
    const auto self = identify(::getpid());
    host_.running[spec.id] = *self;
    host_.uid_bases.insert(spec.uid_base);
    isolation::Started started{*self, {}};
    started.receipt.fields["driver"] = "memory";
    co_return started;
  }
  Task<Status> kill(std::string id) override {
    ++host_.kills;
    if (host_.refuse_kill) co_return make_error(Errc::internal, "a process outlives SIGKILL");
    host_.step("driver: half killed");
    host_.running.erase(id);
    co_return ok();
  }
  Task<Status> destroy(std::string id) override {
    ++host_.destroys;
    if (host_.refuse_destroy) co_return make_error(Errc::internal, "device is busy");
    host_.running.erase(id);
    host_.step("driver: half destroyed");
    host_.traces.erase(id);
    co_return ok();
  }
  Task<Result<isolation::Started>> adopt(isolation::Spec spec, ProcessId init) override {
    const auto it = host_.running.find(spec.id);
    if (it == host_.running.end() || it->second != init) co_return make_error(Errc::not_found, "not whole");
    co_return isolation::Started{init, {}};
  }
  Task<std::vector<std::string>> leftovers() override {
    co_return std::vector<std::string>(host_.traces.begin(), host_.traces.end());
  }
  Task<Result<isolation::Usage>> usage(std::string id) override {
    if (!host_.running.contains(id)) co_return make_error(Errc::not_found, id);
    co_return host_.usage;
  }

 private:
  Host& host_;
  isolation::Tier tier_;
  isolation::Probe probe_;
};

inline isolation::Probe probed(bool works, std::string reason) {
  isolation::Probe out;
  out.works = works;
  out.reason = std::move(reason);
  out.runtime = "memory";
  out.version = "1";
  return out;
}
inline isolation::Probe works() { return probed(true, ""); }
inline isolation::Probe broken() { return probed(false, "no runsc here"); }

// A folder with one template, removed at the end.
class Place {
 public:
  Place() {
    char pattern[] = "/tmp/atoll-node-XXXXXX";
    config.paths.root = ::mkdtemp(pattern);
    config.paths.run = config.paths.root;
    config.uid_ranges = 64;
    config.edge_uid = config.api_uid = ::geteuid();
    (void)make_dirs(config.paths.template_dir("base"), 0755);
    (void)make_dirs(config.paths.layers_dir() + "/one", 0755);
    (void)write_file_atomic(
        config.paths.template_dir("base") + "/template.json",
        R"({"name":"base","templateId":"t1","buildId":"b1","layers":["one"],"vcpus":1,"memoryMB":64})", 0644);
  }
  ~Place() { (void)remove_tree(config.paths.root); }
  Config config;
};

// One life of a node, with an edge that finds every sandbox ready at once. What is not told is
// lost at its end, as with SIGKILL.
class NodeLife {
 public:
  NodeLife(
      Place& place, Host& host, const FakeClock& clock, Failpoint failpoint = [](std::string_view) {})
      : place_(place),
        hub(io.get_executor(), clock, ::geteuid()),
        tiers(drivers(host)),
        node(NodeParts{place.config, io.get_executor(), pool, clock, tiers, hub, std::move(failpoint),
                       [&host](const std::string&) -> Result<DiskSpace> { return host.disk; }}) {}
  ~NodeLife() {
    hub.stop();
    if (edge) edge->close();
    pool.join();
  }

  // Runs the loop until the task is done; an exception in it comes out here.
  template <class T>
  T run(Task<T> task) {
    std::optional<T> value;
    std::exception_ptr thrown;
    asio::co_spawn(io, keep(std::move(task), value), [&](std::exception_ptr failure) {
      thrown = failure;
      io.stop();
    });
    io.restart();
    io.run_for(std::chrono::seconds(30));
    if (thrown) std::rethrow_exception(thrown);
    if (!value) throw std::runtime_error("the task did not end within 30 s");
    return std::move(*value);
  }
  template <class T>
  static Task<void> keep(Task<T> task, std::optional<T>& value) {
    value.emplace(co_await std::move(task));
  }
  Status begin() { return run(begin_now()); }
  // Lets what is ready run.
  void settle() {
    for (int i = 0; i < 20; ++i) {
      io.restart();
      io.run_for(std::chrono::milliseconds(5));
    }
  }
  template <class Condition>
  bool until(Condition condition) {
    for (int i = 0; i < 2000 && !condition(); ++i) {
      io.restart();
      io.run_one_for(std::chrono::milliseconds(10));
    }
    return condition();
  }

  static CreateSpec spec(const std::string& id) {
    CreateSpec out;
    out.id = id;
    out.template_name = "base";
    out.timeout_ms = 60'000;
    out.access_token = "token-of-" + id;
    return out;
  }

 private:
  std::vector<std::unique_ptr<isolation::Driver>> drivers(Host& host) {
    std::vector<std::unique_ptr<isolation::Driver>> out;
    out.push_back(std::make_unique<HostDriver>(host, isolation::Tier::container, works()));
    out.push_back(std::make_unique<HostDriver>(host, isolation::Tier::gvisor, broken()));
    return out;
  }
  Task<Status> begin_now() {
    CO_CHECK_OK(co_await node.adopt());
    tiers.start_probes(io.get_executor());
    CO_CHECK_OK(hub.listen(place_.config.paths.channels_socket()));
    CO_TRY(UniqueFd fd, connect_unix(place_.config.paths.channels_socket(), SOCK_SEQPACKET));
    edge = std::make_shared<PacketSocket>(io.get_executor(), std::move(fd));
    spawn(io.get_executor(), "test's edge", be_edge(edge, packets));
    co_return ok();
  }
  static Task<void> be_edge(std::shared_ptr<PacketSocket> edge, std::vector<std::string>& packets) {
    for (;;) {
      auto got = co_await edge->receive();
      if (!got.ok() || !got->has_value()) co_return;
      auto parsed = parse_json((**got).bytes);
      packets.push_back((**got).bytes);
      const auto& object = parsed->as_object();
      if (object.at("type") != "sandbox") continue;
      std::string ready = json::serialize(json::object{{"type", "ready"}, {"id", object.at("id")}});
      (void)co_await edge->send(std::move(ready), -1, Millis(1000));
    }
  }
  Place& place_;

 public:
  asio::io_context io{1};
  asio::thread_pool pool{2};
  ChannelHub hub;
  Tiers tiers;
  Node node;
  std::shared_ptr<PacketSocket> edge;
  std::vector<std::string> packets;
};

}  // namespace atl::node::testing
