#include "control/api.h"

#include "base/log.h"
#include "control/follower.h"
#include "control/ids.h"
#include "control/routes.h"

namespace atl::control {
namespace {

constexpr std::int64_t kKeysReloadMs = 1000;  // so often an unknown key makes the store be asked
constexpr Millis kStopDeadline{5000};

Answer unauthenticated(std::string_view why) { return failure(401, why); }

std::string presented_key(const rpc::RequestHead& request) {
  if (const auto key = request.headers.get("X-API-KEY")) return std::string(*key);
  std::string_view bearer = request.headers.get_or("Authorization", "");
  if (bearer.size() < 7 || !rpc::iequals(bearer.substr(0, 7), "Bearer ")) return "";
  bearer.remove_prefix(7);
  while (bearer.starts_with(' ')) bearer.remove_prefix(1);
  return std::string(bearer);
}

Task<std::optional<Answer>> authenticate(Call& call) {
  Core& core = call.core;
  call.api_key = presented_key(call.exchange.request());
  if (call.api_key.empty())
    co_return unauthenticated("no API key was sent; send one in the header X-API-KEY (`atoll env` shows the first one)");
  const store::Project* project = core.keys.open(call.api_key, core.now_ms());
  if (!project && core.now_ms() - core.keys_loaded_ms >= kKeysReloadMs) {
    // Another process may have made it.
    const auto loaded = co_await core.load_keys();
    if (!loaded.ok()) co_return failure(loaded.error());
    project = core.keys.open(call.api_key, core.now_ms());
  }
  if (!project) co_return unauthenticated("the API key is not known here; check E2B_API_KEY (`atoll env` shows the first one)");
  call.project = *project;
  co_return std::nullopt;
}

Task<Answer> dispatch(Core& core, rpc::Exchange& exchange) {
  const rpc::RequestHead& request = exchange.request();
  const auto target = rpc::parse_target(request.target);
  if (!target.ok()) co_return invalid(target.error());
  Match found = find_route(request.method, target->segments);
  if (!found.route && found.allow.empty())
    co_return failure(404, "there is no route " + request.method.substr(0, 16) + " " + std::string(target->raw_path.substr(0, 200)));
  if (!found.route) {
    Answer answer = failure(405, "this path does not know the method; it knows " + found.allow);
    answer.headers.set("Allow", found.allow);
    co_return answer;
  }
  Call call{core, exchange, *target, {}, {}, std::move(found.params), found.route->not_built};
  if (found.route->access == Access::key) {
    auto refused = co_await authenticate(call);
    if (refused) co_return std::move(*refused);
  }
  co_return co_await found.route->handler(call);
}

// The answer was lost, and without an idempotency key nobody can ask for it again.
Task<void> undo(Core& core, std::string id) {
  const EntryPtr entry = core.index.find(id);
  if (!entry || entry->row.state == store::State::ended) co_return;
  log_info("client gone before its create was answered", {{"sandbox", id}});
  const auto ended = co_await end_sandbox(core, entry, "killed: the client that created it was gone");
  if (ended.ok()) co_return;
  // Once more, with patience, by the sweeper.
  core.add_orphan(id);
  const auto closed = co_await close_sandbox(core, entry, "killed: the client that created it was gone", nullptr);
  if (!closed.ok()) log_error("row of an unwanted sandbox", {{"sandbox", id}, {"error", closed.error().message}});
}

struct Count {
  explicit Count(Core& c) : core(c) { ++core.tasks; }
  Count(const Count&) = delete;
  Count& operator=(const Count&) = delete;
  ~Count() {
    --core.tasks;
    core.task_ended.notify();
  }
  Core& core;
};

Task<void> counted(Core& core, Task<void> work) {
  const Count count(core);
  co_await std::move(work);
}

}  // namespace

Api::Api(asio::any_io_executor executor, ApiOptions options, store::Store& store, NodeClient& node, const Clock& clock)
    : core_(std::make_unique<Core>(std::move(executor), std::move(options), store, node, clock)) {}

Api::~Api() = default;

Task<Status> Api::start() {
  Core& core = *core_;
  CO_CHECK_OK(co_await core.load());
  follower_ = std::make_unique<Follower>(core);
  spawn(core.executor, "node's events", counted(core, follower_->run()));
  spawn(core.executor, "orphans", counted(core, sweep_orphans(core)));
  spawn(core.executor, "maintenance", counted(core, maintain(core)));
  const auto until = std::chrono::steady_clock::now() + core.options.first_sync;
  while (!core.synced && !core.stopping) {
    const auto left = std::chrono::duration_cast<Millis>(until - std::chrono::steady_clock::now());
    if (left.count() <= 0) break;
    co_await core.synced_now.wait(left);
  }
  if (!core.synced) log_warn("the node has not been reached yet; creates are refused until it is");
  co_return ok();
}

Task<void> Api::handle(rpc::Exchange& exchange) {
  Core& core = *core_;
  const Count count(core);
  Answer answer;
  bool bug = false;
  try {
    answer = co_await dispatch(core, exchange);
  } catch (const std::exception& e) {
    log_error("request failed", {{"method", exchange.request().method}, {"error", e.what()}});
    bug = true;
  }
  if (bug) answer = failure(500, "internal error; the daemon's log has the reason", "internal_server_error");
  if (answer.status >= 500 && answer.status != 501)
    log_warn("request", {{"method", exchange.request().method}, {"status", answer.status}, {"answer", answer.body}});
  rpc::ReplyHead head;
  head.status = answer.status;
  head.headers = std::move(answer.headers);
  if (!answer.body.empty()) head.headers.set("Content-Type", "application/json");
  const auto sent = co_await exchange.reply(std::move(head), std::move(answer.body));
  if (!sent.ok() && !answer.undo_if_lost.empty()) co_await undo(core, std::move(answer.undo_if_lost));
}

bool Api::idle() const { return core_->tasks == 0; }

Task<void> Api::stop() {
  Core& core = *core_;
  core.stopping = true;
  core.stop_now.notify();
  core.orphan_added.notify();
  if (follower_) follower_->cancel();
  const auto until = std::chrono::steady_clock::now() + kStopDeadline;
  while (core.tasks > 0 && std::chrono::steady_clock::now() < until) co_await core.task_ended.wait(Millis{200});
}

}  // namespace atl::control
