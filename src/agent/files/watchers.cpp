#include "agent/files/watchers.h"

#include <fcntl.h>

#include <boost/asio/experimental/awaitable_operators.hpp>

#include "agent/files/entry_info.h"
#include "agent/files/guest_path.h"
#include "base/blocking.h"
#include "base/crypto.h"
#include "fmt/format.h"

namespace atl::agent {
namespace {

using Events = std::vector<filesystem::FilesystemEvent>;

// A deadline so far away that it never comes up, for streams without one.
constexpr Millis kNever{std::chrono::hours(24 * 365)};

// Blocking.
Result<Events> read_events(WatchTree& tree, const Watch::Asked& asked, const WalkOptions& options) {
  TRY(auto changes, tree.read_changes());
  Events events;
  events.reserve(changes.size());
  std::optional<Users> users;
  for (auto& change : changes) {
    auto& event = events.emplace_back();
    event.set_name(utf8_text(change.name));
    event.set_type(change.type);
    if (!asked.include_entry) continue;
    if (!users) users = Users::load();
    const std::string path = change.name == "." ? asked.path : join_path(asked.path, change.name);
    auto entry = stat_entry(path, *users, options);
    if (entry.ok()) *event.mutable_entry() = std::move(entry).value();
  }
  return events;
}

Error unknown_watcher(std::string_view id) {
  return make_error(Errc::not_found, fmt::format("watcher with id {} not found", utf8_text(id)));
}

}  // namespace

Watch::Watch(AgentContext& context, std::shared_ptr<WatchTree> tree, UniqueFd readable, Asked asked,
             WalkOptions options)
    : context_(context),
      tree_(std::move(tree)),
      asked_(std::move(asked)),
      options_(std::move(options)),
      readable_(context.executor, readable.release()) {}

Task<Result<Events>> Watch::next(Millis deadline) {
  using namespace asio::experimental::awaitable_operators;
  constexpr auto quietly = asio::as_tuple(asio::use_awaitable);
  asio::steady_timer timer(context_.executor, deadline);
  auto first = co_await (readable_.async_wait(asio::posix::stream_descriptor::wait_read, quietly) ||
                         timer.async_wait(quietly));
  if (first.index() != 0 || std::get<0>(std::get<0>(first))) co_return Events{};
  auto work = [tree = tree_, asked = asked_, options = options_] {
    return read_events(*tree, asked, options);
  };
  co_return co_await run_blocking(context_.pool, std::move(work));
}

// A watcher whose events wait until somebody asks.
struct Watchers::Polled {
  std::shared_ptr<Watch> watch;
  Ticket ticket;
  std::chrono::steady_clock::time_point asked_at;
  Events events;
  std::optional<Error> failure;
  bool removed = false;
};

Watchers::Watchers(AgentContext& context, WatchersLimits limits) : context_(context), limits_(limits) {}

Watchers::~Watchers() {
  for (auto& [id, polled] : polled_) {
    polled->removed = true;
    polled->watch->wake();
  }
}

void Watchers::sweep() {
  const auto oldest = context_.clock.steady() - limits_.idle;
  for (auto it = polled_.begin(); it != polled_.end();) {
    if (it->second->asked_at >= oldest) {
      ++it;
      continue;
    }
    it->second->removed = true;
    it->second->ticket.reset();
    it->second->watch->wake();
    it = polled_.erase(it);
  }
}

Result<Watchers::Ticket> Watchers::admit() {
  sweep();
  if (*live_ >= limits_.watches_max)
    return make_error(Errc::exhausted, fmt::format("{} watches are open, which is the limit; stop one first",
                                                   limits_.watches_max));
  ++*live_;
  return Ticket(live_.get(), [live = live_](void*) { --*live; });
}

Task<Result<std::shared_ptr<Watch>>> Watchers::open(std::optional<std::string> user, std::string path,
                                                    bool recursive, bool include_entry, bool allow_network) {
  struct Opened {
    std::shared_ptr<WatchTree> tree;
    UniqueFd readable;
    Watch::Asked asked;
    WalkOptions options;
  };
  Watch::Asked asked{std::move(path), recursive, include_entry, allow_network};
  auto work = [asked = std::move(asked), name = user_name_or_default(context_, user), limits = limits_.tree,
               folder = context_.boot.default_workdir]() mutable -> Result<Opened> {
    TRY(Caller caller, load_caller(name));
    TRY(asked.path, expand_path(asked.path, caller.user, folder));
    WalkOptions options = caller.walking();
    TRY(auto tree, WatchTree::open(asked.path, asked.recursive, asked.allow_network, options, limits));
    // Its own descriptor: the pool may still read from the tree's when this one is closed.
    UniqueFd readable(::fcntl(tree->fd(), F_DUPFD_CLOEXEC, 0));
    if (!readable.valid()) return os_error("dup", "inotify");
    return Opened{std::move(tree), std::move(readable), std::move(asked), std::move(options)};
  };
  auto opened = co_await run_blocking(context_.pool, std::move(work));
  if (!opened.ok()) co_return std::move(opened).error();
  co_return std::make_shared<Watch>(context_, std::move(opened->tree), std::move(opened->readable),
                                    std::move(opened->asked), std::move(opened->options));
}

Task<void> Watchers::watch_dir(rpc::Exchange& exchange, Codec codec) {
  filesystem::WatchDirRequest request;
  if (!co_await read_stream_request(exchange, codec, request)) co_return;
  StreamWriter writer(exchange, codec);
  auto ticket = admit();
  if (!ticket.ok()) {
    Status refused = std::move(ticket).error();
    (void)co_await writer.finish(std::move(refused));
    co_return;
  }
  auto user = basic_user(exchange.request().headers);
  auto watch = co_await open(std::move(user), request.path(), request.recursive(), request.include_entry(),
                             request.allow_network_mounts());
  Status outcome = ok();
  if (watch.ok()) {
    outcome = co_await stream(exchange, writer, *watch);
  } else {
    outcome = std::move(watch).error();
  }
  exchange.on_gone([] {});
  (void)co_await writer.finish(std::move(outcome));
}

// Until the client goes, its deadline passes or the watch fails.
Task<Status> Watchers::stream(rpc::Exchange& exchange, StreamWriter& writer, std::shared_ptr<Watch> watch) {
  const Millis interval = keepalive_interval(exchange.request().headers);
  const auto timeout = connect_timeout(exchange.request().headers);
  const auto end = std::chrono::steady_clock::now() + timeout.value_or(kNever);
  exchange.on_gone([watch] { watch->wake(); });
  filesystem::WatchDirResponse message;
  message.mutable_start();
  CO_CHECK_OK(co_await writer.send(message));
  while (!exchange.gone()) {
    const auto left = std::chrono::duration_cast<Millis>(end - std::chrono::steady_clock::now());
    if (left <= Millis(0))
      co_return make_error(Errc::deadline, "the watch's own deadline (connect-timeout-ms) passed");
    auto events = co_await watch->next(std::min(interval, left));
    if (!events.ok()) co_return std::move(events).error();
    if (exchange.gone()) break;
    std::string bytes;
    for (auto& event : *events) {
      *message.mutable_filesystem() = std::move(event);
      bytes += rpc::envelope(0, serialise_message(message, writer.codec()));
    }
    if (events->empty() && left > interval) {
      message.mutable_keepalive();
      bytes = rpc::envelope(0, serialise_message(message, writer.codec()));
    }
    if (!bytes.empty()) CO_CHECK_OK(co_await writer.send_envelopes(bytes));
  }
  co_return make_error(Errc::unavailable, "the client is gone");
}

Task<void> Watchers::create_watcher(rpc::Exchange& exchange, Codec codec) {
  filesystem::CreateWatcherRequest request;
  if (!co_await read_unary(exchange, codec, request)) co_return;
  auto ticket = admit();
  if (!ticket.ok()) {
    co_await reply_error(exchange, ticket.error());
    co_return;
  }
  auto user = basic_user(exchange.request().headers);
  auto watch = co_await open(std::move(user), request.path(), request.recursive(), request.include_entry(),
                             request.allow_network_mounts());
  if (!watch.ok()) {
    co_await reply_error(exchange, watch.error());
    co_return;
  }
  auto polled = std::make_shared<Polled>();
  polled->watch = std::move(watch).value();
  polled->ticket = std::move(ticket).value();
  polled->asked_at = context_.clock.steady();
  filesystem::CreateWatcherResponse reply;
  reply.set_watcher_id("w" + random_id(20));
  polled_[reply.watcher_id()] = polled;
  spawn(context_.executor, "watcher", collect(std::move(polled), limits_.queued_events_max));
  co_await reply_unary(exchange, codec, reply);
}

// Moves a watcher's events from the kernel's queue to ours until it is removed or fails.
Task<void> Watchers::collect(std::shared_ptr<Polled> polled, std::size_t events_max) {
  while (!polled->removed && !polled->failure) {
    auto events = co_await polled->watch->next(kNever);
    if (!events.ok()) {
      polled->failure = std::move(events).error();
    } else if (polled->events.size() + events->size() > events_max) {
      polled->failure =
          make_error(Errc::exhausted, fmt::format("more than {} events were waiting to be asked for and "
                                                  "some were lost; list the folder, remove this watcher and "
                                                  "make another",
                                                  events_max));
    } else {
      for (auto& event : *events) polled->events.push_back(std::move(event));
    }
  }
}

Task<void> Watchers::get_events(rpc::Exchange& exchange, Codec codec) {
  filesystem::GetWatcherEventsRequest request;
  if (!co_await read_unary(exchange, codec, request)) co_return;
  sweep();
  const auto found = polled_.find(request.watcher_id());
  if (found == polled_.end()) {
    const Error unknown = unknown_watcher(request.watcher_id());
    co_await reply_error(exchange, unknown);
    co_return;
  }
  auto polled = found->second;
  polled->asked_at = context_.clock.steady();
  if (polled->failure) {
    co_await reply_error(exchange, *polled->failure);
    co_return;
  }
  filesystem::GetWatcherEventsResponse reply;
  for (auto& event : polled->events) *reply.add_events() = std::move(event);
  polled->events.clear();
  co_await reply_unary(exchange, codec, reply);
}

Task<void> Watchers::remove_watcher(rpc::Exchange& exchange, Codec codec) {
  filesystem::RemoveWatcherRequest request;
  if (!co_await read_unary(exchange, codec, request)) co_return;
  sweep();
  const auto found = polled_.find(request.watcher_id());
  if (found == polled_.end()) {
    const Error unknown = unknown_watcher(request.watcher_id());
    co_await reply_error(exchange, unknown);
    co_return;
  }
  found->second->removed = true;
  found->second->ticket.reset();
  found->second->watch->wake();
  polled_.erase(found);
  const filesystem::RemoveWatcherResponse reply;
  co_await reply_unary(exchange, codec, reply);
}

}  // namespace atl::agent
