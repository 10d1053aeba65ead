#pragma once
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>

#include "base/fs.h"
#include "control/api.h"
#include "control/key_ring.h"
#include "control/testing/fake_exchange.h"
#include "control/testing/fake_node.h"
#include "store/sqlite/sqlite_store.h"

namespace atl::control::testing {

class TempFolder {
 public:
  TempFolder() {
    char pattern[] = "/tmp/atoll-control-XXXXXX";
    path_ = ::mkdtemp(pattern);
  }
  ~TempFolder() { (void)remove_tree(path_).ok(); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// An Api over a real store and a fake node, with a clock that stands still. restart() is the death of
// the api's process: only the store's file and the node live on.
class Harness {
 public:
  Harness() : node(clock) {
    clock.wall_now = from_unix_millis(1'770'000'000'000);
    add_template("base", "tplbase", 2, 512);
    open_store();
    for (const char* name : {"alpha", "beta"}) add_project(name, store::Quota{});
  }
  ~Harness() { stop(); }

  void add_template(const std::string& name, const std::string& id, int vcpus, int memory_mb) {
    const std::string dir = folder.path() + "/templates/" + name;
    ASSERT_TRUE(make_dirs(dir, 0755).ok());
    const std::string text = fmt::format(
        R"({{"name":"{}","templateId":"{}","buildId":"b1","vcpus":{},"memoryMB":{},"diskMB":1024,"createdAt":"2026-01-02T03:04:05Z"}})",
        name, id, vcpus, memory_mb);
    ASSERT_TRUE(write_file_atomic(dir + "/template.json", text, 0644).ok());
  }
  // The key is keys[name] afterwards.
  void add_project(const std::string& name, const store::Quota& quota) {
    store::Project project{"project-" + name, name, quota, 1};
    NewKey key = make_key(project.id, "k", 1);
    keys[name] = key.plaintext;
    ASSERT_TRUE(records->add_project(project, key.record).ok());
  }
  void open_store() {
    auto opened = store::open_sqlite_store(folder.path() + "/atoll.db");
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    records = std::move(*opened);
  }
  void start(store::Store* store = nullptr) {
    ApiOptions options;
    options.seed = std::string(32, 's');
    options.templates_dir = folder.path() + "/templates";
    options.first_sync = Millis{node.reachable ? 5000 : 10};
    api = std::make_unique<Api>(loop.get_executor(), std::move(options), store ? *store : *records, node, clock);
    const auto started = run(api->start());
    ASSERT_TRUE(started.ok()) << started.error().message;
  }
  void stop() {
    if (!api) return;
    auto stopped = stop_and_say(*api);
    EXPECT_TRUE(run(std::move(stopped)));
    EXPECT_TRUE(api->idle());
    api.reset();
  }
  void restart() {
    stop();
    records.reset();
    open_store();
    start();
  }

  // Drives the loop until the task has ended; ten seconds without any event are a failure.
  template <class T>
  T run(Task<T> task) {
    std::optional<T> out;
    spawn(loop.get_executor(), "test", into(std::move(task), out));
    until([&] { return out.has_value(); });
    return std::move(*out);
  }
  void until(const std::function<bool()>& condition) {
    loop.restart();
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (!condition()) {
      if (std::chrono::steady_clock::now() > deadline) throw std::runtime_error("the test's condition did not come true");
      loop.run_one_for(std::chrono::milliseconds(100));
    }
  }
  // Everything that is ready now, and what it leads to, has run.
  void settle() {
    for (int i = 0; i < 5; ++i) {
      loop.restart();
      while (loop.run_one_for(std::chrono::milliseconds(5)) > 0) {}
    }
  }

  std::unique_ptr<FakeExchange> request(const std::string& method, const std::string& target, const std::string& body = "",
                                        const std::string& project = "alpha") {
    auto exchange = std::make_unique<FakeExchange>(method, target, body);
    if (!project.empty()) exchange->headers().add("x-api-key", keys.at(project));
    return exchange;
  }
  Seen send(FakeExchange& exchange) {
    run(handled(*api, exchange));
    return seen(exchange);
  }
  Seen call(const std::string& method, const std::string& target, const std::string& body = "",
            const std::string& project = "alpha") {
    const auto exchange = request(method, target, body, project);
    return send(*exchange);
  }
  std::string create(const std::string& project = "alpha", const std::string& extra = "") {
    const Seen made = call("POST", "/v2/sandboxes", R"({"templateID":"base")" + extra + "}", project);
    EXPECT_EQ(made.status, 201) << made.text;
    return made.field("sandboxID");
  }
  // Starts a request and leaves it running.
  void begin(FakeExchange& exchange) { spawn(loop.get_executor(), "request", api->handle(exchange)); }

  TempFolder folder;
  FakeClock clock;
  asio::io_context loop{1};
  FakeNode node;
  std::unique_ptr<store::Store> records;
  std::map<std::string, std::string> keys;
  std::unique_ptr<Api> api;

 private:
  template <class T>
  static Task<void> into(Task<T> task, std::optional<T>& out) {
    out.emplace(co_await std::move(task));
  }
  static Task<bool> stop_and_say(Api& api) {
    co_await api.stop();
    co_return true;
  }
  static Task<bool> handled(Api& api, FakeExchange& exchange) {
    co_await api.handle(exchange);
    co_return true;
  }
};

}  // namespace atl::control::testing
