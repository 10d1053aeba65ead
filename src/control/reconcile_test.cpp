#include "control/testing/harness.h"

namespace atl::control::testing {
namespace {

// Counts every change of store and node, before and after it; at `crash_at` the api's process is dead:
// from then on nothing it does has an effect.
struct Fate {
  int steps = 0;
  int crash_at = -1;
  bool dead = false;
  Status step() {
    if (steps++ == crash_at) dead = true;
    return dead ? Status(make_error(Errc::unavailable, "the process is dead")) : ok();
  }
};

class MortalStore final : public store::Store {
 public:
  MortalStore(store::Store& real, Fate& fate) : real_(real), fate_(fate) {}
  Status add_project(const store::Project& p, const store::ApiKey& k) override { return real_.add_project(p, k); }
  Result<std::vector<store::Project>> projects() override { return real_.projects(); }
  Status add_key(const store::ApiKey& k) override { return real_.add_key(k); }
  Status remove_key(const std::string& p, const std::string& k) override { return real_.remove_key(p, k); }
  Status rename_key(const std::string& p, const std::string& k, const std::string& n) override {
    return real_.rename_key(p, k, n);
  }
  Result<std::vector<store::ApiKey>> keys() override { return real_.keys(); }
  Status set_last_used(const std::vector<std::pair<std::string, std::int64_t>>& used) override {
    if (fate_.dead) return fate_.step();
    return real_.set_last_used(used);
  }
  Status begin_create(const store::Sandbox& row, const store::Idempotency* i, const store::LogEntry& e) override {
    return change([&] { return real_.begin_create(row, i, e); });
  }
  Status finish_create(const store::Sandbox& row, const store::LogEntry& e) override {
    return change([&] { return real_.finish_create(row, e); });
  }
  Status abort_create(const std::string& id) override {
    return change([&] { return real_.abort_create(id); });
  }
  Status save(const store::Sandbox& row, const std::vector<store::LogEntry>& entries) override {
    return change([&] { return real_.save(row, entries); });
  }
  Result<std::vector<store::Sandbox>> sandboxes() override { return real_.sandboxes(); }
  Result<std::vector<store::Idempotency>> idempotency() override { return real_.idempotency(); }
  Result<std::vector<store::LogEntry>> entries(const std::string& id) override { return real_.entries(id); }
  Result<std::vector<store::TemplateUse>> template_uses() override { return real_.template_uses(); }
  Status prune(std::int64_t a, std::int64_t b) override { return fate_.dead ? fate_.step() : real_.prune(a, b); }

 private:
  template <class Change>
  Status change(Change what) {
    CHECK_OK(fate_.step());
    CHECK_OK(what());
    return fate_.step();
  }
  store::Store& real_;
  Fate& fate_;
};

std::set<std::string> living(const Harness& h) {
  std::set<std::string> out;
  for (const auto& [id, one] : h.node.sandboxes)
    if (one.state() == "running") out.insert(id);
  return out;
}

std::set<std::string> rows(Harness& h, store::State state) {
  std::set<std::string> out;
  const auto all = h.records->sandboxes();
  for (const store::Sandbox& row : *all)
    if (row.state == state) out.insert(row.id);
  return out;
}

struct Outcome {
  bool crashed = false;
  Seen created, killed;
};

// A create and a kill, with death at the given step; then a restart. The invariants hold whatever the step.
Outcome live_and_die(int crash_at, bool keyed, bool kill) {
  Harness h;
  Fate fate;
  fate.crash_at = crash_at;
  MortalStore mortal(*h.records, fate);
  h.node.step = [&](std::string_view rpc, bool) -> Status {
    return rpc == "create" || rpc == "destroy" ? fate.step() : ok();
  };
  h.start(&mortal);
  Outcome out;
  const auto exchange = h.request("POST", "/v2/sandboxes", R"({"templateID":"base"})");
  if (keyed) exchange->headers().add("Idempotency-Key", "once");
  out.created = h.send(*exchange);
  const std::string id = out.created.field("sandboxID");
  if (kill && out.created.status == 201) out.killed = h.call("DELETE", "/sandboxes/" + id);
  out.crashed = fate.dead;
  h.stop();
  h.node.step = [](std::string_view, bool) { return ok(); };
  h.restart();
  h.until([&] { return living(h) == rows(h, store::State::running); });
  EXPECT_TRUE(rows(h, store::State::creating).empty()) << "step " << crash_at;
  if (out.created.status == 201 && !kill) EXPECT_TRUE(living(h).contains(id)) << "an acknowledged create was lost, step " << crash_at;
  if (out.killed.status == 204) EXPECT_FALSE(living(h).contains(id)) << "a killed one lives, step " << crash_at;
  if (keyed && !kill) {
    const auto again = h.request("POST", "/v2/sandboxes", R"({"templateID":"base"})");
    again->headers().add("Idempotency-Key", "once");
    EXPECT_EQ(h.send(*again).status, 201) << "step " << crash_at;
    h.until([&] { return living(h) == rows(h, store::State::running); });
    EXPECT_EQ(living(h).size(), 1u) << "step " << crash_at;
  }
  // Death between the last commit and the reply leaves a sandbox that the project's list shows and its
  // timeout ends; one step earlier nothing is left.
  constexpr int kAfterLastCommit = 5;
  if (!keyed && out.created.status != 201 && crash_at != kAfterLastCommit)
    EXPECT_TRUE(living(h).empty()) << "nobody knows of it, step " << crash_at;
  return out;
}

TEST(Death, AtEveryStepOfACreate) {
  for (const bool keyed : {false, true}) {
    int step = 0;
    while (live_and_die(step, keyed, false).crashed) ++step;
    EXPECT_GE(step, 6) << "store, node and store again, each before and after";
  }
}

TEST(Death, AtEveryStepOfAKill) {
  int step = 6;
  while (live_and_die(step, false, true).crashed) ++step;
  EXPECT_GE(step, 10);
}

TEST(Reconcile, RowsWithoutASandboxAreClosedAndSandboxesWithoutARowDestroyed) {
  Harness h;
  h.start();
  const std::string gone = h.create(), ended = h.create(), stays = h.create();
  h.stop();
  h.node.sandboxes.erase(gone);
  h.node.end(ended, "timeout");
  pb::Sandbox stray;
  stray.set_id("istray");
  stray.set_state("running");
  h.node.sandboxes["istray"] = stray;
  h.start();
  EXPECT_EQ(h.call("GET", "/atoll/v1/sandboxes/" + gone).field("endReason"), "lost");
  EXPECT_EQ(h.call("GET", "/atoll/v1/sandboxes/" + ended).field("endReason"), "timeout");
  EXPECT_EQ(h.call("GET", "/sandboxes/" + stays).status, 200);
  h.until([&] { return h.node.sandboxes.at("istray").state() == "ended"; });
}

TEST(Reconcile, ConnectsAgainAndACreateMeanwhileIsNotTakenForLost) {
  Harness h;
  h.start();
  const std::string before = h.create();
  h.node.hold_creates = true;
  const auto exchange = h.request("POST", "/v2/sandboxes", R"({"templateID":"base"})");
  h.begin(*exchange);
  h.until([&] { return h.node.waiting_creates == 1; });
  h.node.break_streams();
  h.settle();
  h.node.release();
  h.until([&] { return exchange->replies == 1; });
  ASSERT_EQ(exchange->reply_head.status, 201);
  h.until([&] { return h.call("GET", "/atoll/v1/status").body.at("roles").at("node").as_string() == "connected"; });
  h.node.end(before, "timeout");
  h.until([&] { return h.call("GET", "/sandboxes/" + before).status == 404; });
  EXPECT_EQ(h.call("GET", "/sandboxes/" + seen(*exchange).field("sandboxID")).status, 200);
}

TEST(Reconcile, ASandboxThatEndsWhileItsCreateIsAnsweredIsNotForgotten) {
  Harness h;
  h.start();
  h.node.step = [&](std::string_view rpc, bool after) -> Status {
    // After the node has it running, and before the api hears that.
    if (rpc == "create" && after) h.node.end(h.node.creates.back().id(), "exited");
    return ok();
  };
  const Seen made = h.call("POST", "/v2/sandboxes", R"({"templateID":"base"})");
  const std::string id = made.field("sandboxID");
  h.until([&] { return h.call("GET", "/sandboxes/" + id).status == 404; });
  EXPECT_EQ(h.call("GET", "/atoll/v1/sandboxes/" + id).field("endReason"), "exited");
}

TEST(Reconcile, WithoutANodeReadsWorkAndChangesSayWhyNot) {
  Harness h;
  h.start();
  const std::string id = h.create();
  h.stop();
  h.node.reachable = false;
  h.start();
  EXPECT_EQ(h.call("GET", "/health", "", "").status, 204);
  EXPECT_EQ(h.call("GET", "/sandboxes/" + id).status, 200);
  EXPECT_EQ(h.call("GET", "/atoll/v1/status").body.at("roles").at("node").as_string(), "unreachable");
  const Seen create = h.call("POST", "/v2/sandboxes", R"({"templateID":"base"})");
  EXPECT_EQ(create.status, 503);
  EXPECT_EQ(create.headers.get_or("Should-Retry", ""), "true");
  EXPECT_EQ(h.call("DELETE", "/sandboxes/" + id).status, 503);
  h.node.reachable = true;
  h.until([&] { return h.call("GET", "/atoll/v1/status").body.at("roles").at("node").as_string() == "connected"; });
  EXPECT_EQ(h.call("DELETE", "/sandboxes/" + id).status, 204);
}

}  // namespace
}  // namespace atl::control::testing
