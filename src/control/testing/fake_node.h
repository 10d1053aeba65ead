#pragma once
#include <deque>
#include <functional>
#include <map>
#include <set>

#include "base/clock.h"
#include "base/notifier.h"
#include "control/node_client.h"

namespace atl::control::testing {

// A node that runs sandboxes in a map. It outlives the Api under test, as a real one does.
class FakeNode final : public NodeClient {
 public:
  explicit FakeNode(const Clock& clock) : clock_(clock) {}

  // Called before (false) and after (true) each change; an error makes the call fail there.
  std::function<Status(std::string_view rpc, bool after)> step = [](std::string_view, bool) { return ok(); };
  bool reachable = true;
  bool hold_creates = false;  // creates wait for release()
  std::int64_t boot_ms = 0;   // how much the clock has moved when a sandbox is ready
  std::string log_lines;
  std::map<std::string, pb::Sandbox> sandboxes;
  std::vector<pb::CreateRequest> creates;
  std::vector<std::string> destroyed;
  int waiting_creates = 0;

  void release() {
    hold_creates = false;
    released_.notify();
  }
  // As if its time was over, or its process 1 had gone.
  void end(const std::string& id, const std::string& reason) {
    pb::Sandbox& one = sandboxes.at(id);
    one.set_state("ended");
    one.set_end_reason(reason);
    one.set_end_unix_ms(now());
    publish(one);
  }
  void publish(const pb::Sandbox& one) {
    pb::Event event;
    *event.mutable_sandbox() = one;
    push(event);
  }
  void break_streams() {
    for (Stream* stream : streams_) stream->cancel();
  }

  Task<Result<pb::Sandbox>> create(pb::CreateRequest request) override {
    CO_CHECK_OK(check("create", false));
    creates.push_back(request);
    ++waiting_creates;
    while (hold_creates) co_await released_.wait(Millis{10'000});
    --waiting_creates;
    pb::Sandbox& one = sandboxes[request.id()];
    one.set_id(request.id());
    one.set_state("running");
    one.set_tier(request.tier() == "auto" ? "gvisor" : request.tier());
    one.set_started_unix_ms(now() + boot_ms);
    one.set_end_unix_ms(one.started_unix_ms() + request.timeout_ms());
    *one.mutable_limits() = request.limits();
    one.set_receipt_json(R"({"tier":"gvisor","kernel":"test"})");
    one.set_owner(request.owner());
    publish(one);
    CO_CHECK_OK(check("create", true));
    co_return one;
  }
  Task<Status> destroy(std::string id, std::string reason) override {
    CO_CHECK_OK(check("destroy", false));
    destroyed.push_back(id);
    if (const auto at = sandboxes.find(id); at != sandboxes.end() && at->second.state() != "ended") end(id, reason);
    co_return check("destroy", true);
  }
  Task<Result<pb::Sandbox>> set_end(std::string id, std::int64_t end_unix_ms, bool only_extend) override {
    CO_CHECK_OK(check("set_end", false));
    const auto at = sandboxes.find(id);
    if (at == sandboxes.end() || at->second.state() != "running") co_return make_error(Errc::not_found, "node: not running");
    if (!only_extend || end_unix_ms > at->second.end_unix_ms()) at->second.set_end_unix_ms(end_unix_ms);
    publish(at->second);
    CO_CHECK_OK(check("set_end", true));
    co_return at->second;
  }
  Task<Result<pb::UsageReply>> usage(pb::UsageRequest request) override {
    CO_CHECK_OK(check("usage", false));
    pb::UsageReply out;
    for (const std::string& id : request.ids()) {
      auto* one = out.add_sandboxes();
      one->set_id(id);
      auto* sample = one->add_samples();
      sample->set_unix_ms(now());
      sample->set_vcpus(2);
      sample->set_cpu_used_pct(12.5);
      sample->set_memory_total_bytes(512 << 20);
    }
    co_return out;
  }
  Task<Result<std::string>> logs(std::string id) override {
    CO_CHECK_OK(check("logs", false));
    if (!sandboxes.contains(id)) co_return make_error(Errc::not_found, "node: unknown sandbox");
    co_return log_lines;
  }
  Task<Result<pb::TierList>> tiers() override {
    CO_CHECK_OK(check("tiers", false));
    pb::TierList out;
    auto* tier = out.add_tiers();
    tier->set_name("gvisor");
    tier->set_works(true);
    tier->set_is_auto(true);
    co_return out;
  }
  Task<Result<std::unique_ptr<EventStream>>> events() override {
    CO_CHECK_OK(check("events", false));
    auto stream = std::make_unique<Stream>(*this);
    for (const auto& [id, one] : sandboxes) {
      pb::Event event;
      *event.mutable_sandbox() = one;
      stream->queue.push_back(event);
    }
    pb::Event end;
    end.set_backlog_end(true);
    stream->queue.push_back(end);
    std::unique_ptr<EventStream> out = std::move(stream);
    co_return out;
  }

 private:
  struct Stream final : EventStream {
    explicit Stream(FakeNode& of) : node(of) { node.streams_.insert(this); }
    ~Stream() override { node.streams_.erase(this); }
    Task<Result<pb::Event>> next() override {
      while (queue.empty() && !over) co_await more.wait(Millis{10'000});
      if (over) co_return make_error(Errc::unavailable, "the stream is over");
      pb::Event event = std::move(queue.front());
      queue.pop_front();
      co_return event;
    }
    void cancel() override {
      over = true;
      more.notify();
    }
    FakeNode& node;
    std::deque<pb::Event> queue;
    Notifier more;
    bool over = false;
  };

  std::int64_t now() const { return unix_millis(clock_.wall()); }
  Status check(std::string_view rpc, bool after) {
    if (!reachable) return make_error(Errc::unavailable, "node: not to be reached");
    return step(rpc, after);
  }
  void push(const pb::Event& event) {
    for (Stream* stream : streams_) {
      stream->queue.push_back(event);
      stream->more.notify();
    }
  }

  const Clock& clock_;
  Notifier released_;
  std::set<Stream*> streams_;
};

}  // namespace atl::control::testing
