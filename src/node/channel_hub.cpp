#include "node/channel_hub.h"

#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/json.h"
#include "node/journal.h"

namespace atl::node {
namespace {

constexpr Millis kAcceptPause{50};
constexpr std::chrono::minutes kRefusalEvery{1};

std::string packet(std::string_view type, const std::string& id) {
  return json::serialize(json::object{{"type", type}, {"id", id}});
}

std::string sandbox_packet(const ChannelInfo& info) {
  return json::serialize(json::object{{"type", "sandbox"},
                                      {"id", info.id},
                                      {"bootToken", info.boot_token},
                                      {"accessToken", info.access_token},
                                      {"trafficToken", info.traffic_token},
                                      {"maskRequestHost", info.mask_request_host}});
}

}  // namespace

struct ChannelHub::Channel {
  Channel(ChannelInfo i, PeerCheck c, UnixListener l)
      : info(std::move(i)), check(c), listener(std::move(l)) {}
  ChannelInfo info;
  PeerCheck check;
  UnixListener listener;
  std::optional<pid_t> init;
  std::deque<std::pair<UniqueFd, pid_t>> unjudged;  // before process 1 is known; at most kPendingMax
  std::shared_ptr<asio::posix::stream_descriptor> silent;  // the VMM's newest connection, before its first byte
  UniqueFd waiting;                                 // without an edge: the newest connection
  std::size_t pending = 0;                          // given to the edge, no verdict yet
  bool ready = false;
  bool closed = false;
  std::uint64_t refusals = 0;  // since the last line about them
  std::optional<std::chrono::steady_clock::time_point> refusal_told;
  // Token bucket of accepts.
  double tokens = kAcceptsPerSecond;
  std::chrono::steady_clock::time_point refilled{};

  bool take_token(std::chrono::steady_clock::time_point now) {
    if (refilled.time_since_epoch().count() != 0)
      tokens = std::min(kAcceptsPerSecond,
                        tokens + std::chrono::duration<double>(now - refilled).count() * kAcceptsPerSecond);
    refilled = now;
    if (tokens < 1) return false;
    tokens -= 1;
    return true;
  }
};

struct ChannelHub::Edge {
  Edge(asio::any_io_executor executor, UniqueFd fd) : socket(executor, std::move(fd)) {}
  PacketSocket socket;
  std::deque<std::pair<std::string, UniqueFd>> outgoing;
  Notifier more;
  bool gone = false;
};

ChannelHub::ChannelHub(asio::any_io_executor executor, const Clock& clock, std::uint32_t edge_uid)
    : executor_(executor), clock_(clock), edge_uid_(edge_uid) {}
ChannelHub::~ChannelHub() {
  stop();
}

Status ChannelHub::listen(const std::string& path) {
  TRY(UnixListener listener, UnixListener::open(executor_, path, SOCK_SEQPACKET, 0600));
  if (::geteuid() == 0 && ::chown(path.c_str(), edge_uid_, edge_uid_) != 0) return os_error("chown", path);
  listener_.emplace(std::move(listener));
  spawn(executor_, "channels.sock", accept_edges());
  return ok();
}

Status ChannelHub::open(ChannelInfo info, const std::string& dir, PeerCheck check) {
  CHECK_OK(make_dirs(dir, 0755));
  if (::chmod(dir.c_str(), 0755) != 0) return os_error("chmod", dir);
  TRY(UnixListener listener, UnixListener::open(executor_, dir + "/channel.sock", SOCK_STREAM, 0666));
  close(info.id);
  const std::string id = info.id;
  auto channel = std::make_shared<Channel>(std::move(info), check, std::move(listener));
  channels_[id] = channel;
  send(sandbox_packet(channel->info), UniqueFd());
  spawn(executor_, "channel of " + id, accept_agents(channel));
  return ok();
}

void ChannelHub::set_init(const std::string& id, pid_t init) {
  const auto it = channels_.find(id);
  if (it == channels_.end()) return;
  const auto channel = it->second;
  channel->init = init;
  auto early = std::move(channel->unjudged);
  channel->unjudged.clear();
  for (auto& [fd, peer] : early) judge(*channel, std::move(fd), peer);
}

void ChannelHub::close(const std::string& id) {
  const auto it = channels_.find(id);
  if (it == channels_.end()) return;
  it->second->closed = true;
  it->second->listener.close();
  it->second->waiting.reset();
  if (it->second->silent) it->second->silent->close();
  it->second->unjudged.clear();
  channels_.erase(it);
  send(packet("gone", id), UniqueFd());
  changed_.notify();
}

Task<Status> ChannelHub::wait_ready(std::string id, Millis at_most) {
  const auto until = std::chrono::steady_clock::now() + at_most;
  for (;;) {
    const auto it = channels_.find(id);
    if (it == channels_.end())
      co_return make_error(Errc::conflict, "sandbox " + id + " was ended while it started");
    if (it->second->ready) co_return ok();
    const auto left = std::chrono::duration_cast<Millis>(until - std::chrono::steady_clock::now());
    if (left.count() <= 0) {
      std::string why = edge_ ? "its agent did not answer" : "no edge is connected to the node";
      co_return make_error(Errc::deadline, "sandbox " + id + " is not ready after " +
                                               std::to_string(at_most.count()) + " ms: " + why);
    }
    co_await changed_.wait(left);
  }
}

void ChannelHub::stop() {
  if (listener_) listener_->close();
  if (edge_) drop_edge("node stops");
  for (auto& [id, channel] : channels_) {
    channel->closed = true;
    channel->listener.close();
  }
  channels_.clear();
}

Task<void> ChannelHub::accept_edges() {
  for (;;) {
    auto fd = co_await listener_->accept();
    if (!fd.ok()) co_return;
    const auto peer = peer_of(fd->get());
    if (!peer.ok() || (peer->uid != edge_uid_ && peer->uid != 0)) {
      log_warn("channels.sock: foreign peer", {{"uid", peer.ok() ? peer->uid : 0}});
      continue;
    }
    if (edge_) drop_edge("another edge connected");
    edge_ = std::make_shared<Edge>(executor_, std::move(*fd));
    for (auto& [id, channel] : channels_) {
      channel->pending = 0;
      send(sandbox_packet(channel->info), UniqueFd());
    }
    send(json::serialize(json::object{{"type", "synced"}}), UniqueFd());
    for (auto& [id, channel] : channels_)
      if (channel->waiting.valid()) offer(*channel, std::move(channel->waiting));
    if (!edge_) continue;
    log_info("edge connected", {{"sandboxes", channels_.size()}});
    spawn(executor_, "packets to the edge", write_edge(edge_));
    spawn(executor_, "packets of the edge", serve_edge(edge_));
  }
}

Task<void> ChannelHub::serve_edge(std::shared_ptr<Edge> edge) {
  while (!edge->gone) {
    auto got = co_await edge->socket.receive();
    if (edge->gone) co_return;
    if (!got.ok() || !got->has_value()) {
      drop_edge(got.ok() ? "closed by the edge" : got.error().message);
      co_return;
    }
    on_packet((**got).bytes);
  }
}

Task<void> ChannelHub::write_edge(std::shared_ptr<Edge> edge) {
  while (!edge->gone) {
    if (edge->outgoing.empty()) {
      co_await edge->more.wait(Millis(60'000));
      continue;
    }
    auto [text, fd] = std::move(edge->outgoing.front());
    edge->outgoing.pop_front();
    const auto sent = co_await edge->socket.send(std::move(text), fd.get(), Millis(10'000));
    if (!sent.ok() && !edge->gone) {
      drop_edge(sent.error().message);
      co_return;
    }
  }
}

void ChannelHub::drop_edge(const std::string& why) {
  if (!edge_) return;
  log_warn("edge connection ended", {{"why", why}});
  edge_->gone = true;
  edge_->socket.close();
  edge_->more.notify();
  edge_.reset();
}

Task<void> ChannelHub::accept_agents(std::shared_ptr<Channel> channel) {
  for (;;) {
    auto fd = co_await channel->listener.accept();
    if (!fd.ok() || channel->closed) co_return;
    // Further ones wait in the listener's bounded queue: a guest that connects without end pays with
    // its own time, not with this loop's.
    while (!channel->take_token(clock_.steady())) {
      co_await sleep_for(kAcceptPause);
      if (channel->closed) co_return;
    }
    const auto peer = peer_of(fd->get());
    if (peer.ok()) judge(*channel, std::move(*fd), peer->pid);
  }
}

void ChannelHub::judge(Channel& channel, UniqueFd fd, pid_t peer) {
  if (channel.check != PeerCheck::none) {
    if (!channel.init) {
      if (channel.unjudged.size() >= kPendingMax) channel.unjudged.pop_front();
      channel.unjudged.emplace_back(std::move(fd), peer);
      return;
    }
    if (*channel.init != peer) return;
  }
  if (channel.check != PeerCheck::vmm) return offer(channel, std::move(fd));
  if (channel.silent) channel.silent->close();
  channel.silent = std::make_shared<asio::posix::stream_descriptor>(executor_, fd.release());
  spawn(executor_, "first byte of " + channel.info.id,
        offer_when_it_speaks(channels_.at(channel.info.id), channel.silent));
}

// The edge waits for a preface only so long, and a guest takes its time to boot. Nothing is read here.
Task<void> ChannelHub::offer_when_it_speaks(std::shared_ptr<Channel> channel,
                                            std::shared_ptr<asio::posix::stream_descriptor> fd) {
  const auto [error] = co_await fd->async_wait(asio::posix::stream_descriptor::wait_read,
                                               asio::as_tuple(asio::use_awaitable));
  if (error || channel->closed) co_return;
  if (channel->silent == fd) channel->silent.reset();
  offer(*channel, UniqueFd(fd->release()));
}

void ChannelHub::offer(Channel& channel, UniqueFd fd) {
  if (!edge_) {
    channel.waiting = std::move(fd);
    return;
  }
  if (channel.pending >= kPendingMax) return;
  ++channel.pending;
  send(packet("channel", channel.info.id), std::move(fd));
}

void ChannelHub::send(std::string text, UniqueFd fd) {
  if (!edge_) return;
  if (edge_->outgoing.size() >= kOutgoingMax) {
    drop_edge("8192 packets wait for it");
    return;
  }
  edge_->outgoing.emplace_back(std::move(text), std::move(fd));
  edge_->more.notify();
}

Result<EdgePacket> parse_edge_packet(std::string_view text) {
  TRY(json::value value, parse_json(text));
  JsonReader reader(value);
  CHECK_OK(reader.require_object());
  EdgePacket out{};
  TRY(std::string type, reader.string("type", 32));
  TRY(out.id, reader.string("id", 64));
  if (!valid_id(out.id)) return make_error(Errc::invalid, "id: not [a-z0-9]{1,64}");
  TRY(auto reason, reader.opt_string("reason", 1024));
  out.reason = reason.value_or("");
  if (type == "ready")
    out.type = EdgePacket::Type::ready;
  else if (type == "refused")
    out.type = EdgePacket::Type::refused;
  else if (type == "lost")
    out.type = EdgePacket::Type::lost;
  else
    return make_error(Errc::invalid, "type: ready, refused or lost expected");
  return out;
}

// A guest decides how often this happens: the first is told, then a count a minute.
void ChannelHub::log_refusal(Channel& channel, const std::string& reason) {
  ++channel.refusals;
  const auto now = clock_.steady();
  if (channel.refusal_told && now - *channel.refusal_told < kRefusalEvery) return;
  channel.refusal_told = now;
  log_warn("channel refused",
           {{"sandbox", channel.info.id}, {"reason", reason}, {"count", std::exchange(channel.refusals, 0)}});
}

void ChannelHub::on_packet(std::string_view text) {
  auto got = parse_edge_packet(text);
  if (!got.ok()) {
    drop_edge("bad packet: " + got.error().message);
    return;
  }
  const auto it = channels_.find(got->id);
  if (it == channels_.end()) return;  // it ended meanwhile
  Channel& channel = *it->second;
  switch (got->type) {
    case EdgePacket::Type::ready:
      channel.ready = true;
      if (channel.pending > 0) --channel.pending;
      break;
    case EdgePacket::Type::refused:
      if (channel.pending > 0) --channel.pending;
      log_refusal(channel, got->reason);
      break;
    case EdgePacket::Type::lost:
      channel.ready = false;
      break;
  }
  changed_.notify();
}

}  // namespace atl::node
