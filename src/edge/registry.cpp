#include "edge/registry.h"

#include "base/crypto.h"

namespace atl::edge {
namespace {

using namespace asio::experimental::awaitable_operators;

constexpr std::size_t kPrefaceBytes = 64;

Task<bool> read_exactly(rpc::Socket& socket, std::span<char> into) {
  std::size_t have = 0;
  while (have < into.size()) {
    const auto rest = asio::buffer(into.data() + have, into.size() - have);
    const auto [error, n] = co_await socket.async_read_some(rest, asio::as_tuple(asio::use_awaitable));
    if (error || n == 0) co_return false;
    have += n;
  }
  co_return true;
}

rpc::Http2Limits channel_limits() {
  rpc::Http2Limits limits;
  limits.streams_max = 1000;
  return limits;
}

}  // namespace

Task<Status> check_preface(rpc::Socket& socket, std::string token, Millis deadline) {
  std::array<char, kPrefaceBytes> preface{};
  const auto outcome = co_await (read_exactly(socket, preface) || sleep_for(deadline));
  if (outcome.index() == 1) co_return make_error(Errc::deadline, "no preface in time");
  if (!std::get<0>(outcome)) co_return make_error(Errc::denied, "closed before its preface");
  const std::string_view got(preface.data(), preface.size());
  if (token.size() != kPrefaceBytes || !equal_constant_time(got, token))
    co_return make_error(Errc::denied, "wrong preface");
  co_return ok();
}

ChannelRegistry::ChannelRegistry(asio::any_io_executor executor, const Clock& clock,
                                 std::function<void(std::string)> say)
    : executor_(executor), clock_(clock), say_(std::move(say)), hashes_refilled_(clock.steady()) {}

ChannelRegistry::~ChannelRegistry() {
  serials_.clear();
  for (auto& [id, sandbox] : sandboxes_)
    if (sandbox->channel) sandbox->channel->close();
}

void ChannelRegistry::on_node_connected() {
  ++sync_;
}
// What is known stays: a restart of the node must not cut a running command.
void ChannelRegistry::on_node_lost() {}

void ChannelRegistry::on_packet(NodePacket packet, UniqueFd fd) {
  switch (packet.type) {
    case NodePacket::Type::sandbox:
      add(std::move(packet));
      break;
    case NodePacket::Type::gone:
      remove(packet.id);
      break;
    case NodePacket::Type::synced: {
      std::vector<std::string> stale;
      for (auto& [id, sandbox] : sandboxes_)
        if (sandbox->sync != sync_) stale.push_back(id);
      for (const std::string& id : stale) remove(id);
      synced_ = true;
      changed_.notify();
      break;
    }
    case NodePacket::Type::channel: {
      auto sandbox = find(packet.id);
      if (!sandbox || !fd.valid()) break;
      if (sandbox->proving >= kProvingMax) {
        say_(refused_packet(packet.id, "too many connections that have not proved themselves"));
        break;
      }
      spawn(executor_, "preface of " + packet.id, prove(sandbox, std::move(fd)));
      break;
    }
  }
}

void ChannelRegistry::add(NodePacket packet) {
  auto known = find(packet.id);
  // Another boot token under the same id is another sandbox.
  if (known && known->boot_token != packet.boot_token) {
    remove(packet.id);
    known = nullptr;
  }
  if (!known) {
    known = std::make_shared<LiveSandbox>();
    known->id = packet.id;
    known->boot_token = std::move(packet.boot_token);
    known->access_token = std::move(packet.access_token);
    sandboxes_[known->id] = known;
    if (!known->access_token.empty()) by_token_[sha256(known->access_token)] = known->id;
  }
  known->traffic_token = std::move(packet.traffic_token);
  known->mask_request_host = std::move(packet.mask_request_host);
  known->sync = sync_;
  if (known->channel) say_(ready_packet(known->id));
  changed_.notify();
}

void ChannelRegistry::remove(const std::string& id) {
  const auto it = sandboxes_.find(id);
  if (it == sandboxes_.end()) return;
  const auto sandbox = it->second;
  sandboxes_.erase(it);
  serials_.erase(id);
  if (!sandbox->access_token.empty()) by_token_.erase(sha256(sandbox->access_token));
  if (auto channel = std::move(sandbox->channel)) channel->close();
  sandbox->channel.reset();
  changed_.notify();
}

Task<void> ChannelRegistry::prove(std::shared_ptr<LiveSandbox> sandbox, UniqueFd fd) {
  ++sandbox->proving;
  const auto status = co_await prove_now(sandbox, std::move(fd));
  --sandbox->proving;
  if (!status.ok()) say_(refused_packet(sandbox->id, status.error().message));
}

Task<Status> ChannelRegistry::prove_now(std::shared_ptr<LiveSandbox> sandbox, UniqueFd fd) {
  rpc::Socket socket(executor_, asio::generic::stream_protocol(AF_UNIX, 0), fd.release());
  CO_CHECK_OK(co_await check_preface(socket, sandbox->boot_token, kPrefaceDeadline));
  const std::uint64_t serial = next_serial_++;
  const std::string id = sandbox->id;
  auto on_end = [this, id, serial] { on_channel_end(id, serial); };
  auto channel = rpc::http2_client(std::move(socket), channel_limits(), std::move(on_end));
  rpc::RequestHead head;
  head.method = "GET";
  head.target = "/health";
  head.authority = "agent";
  const auto reply = co_await rpc::call(*channel, std::move(head), "", 64 * 1024, kHealthDeadline);
  if (!reply.ok() || reply->head.status / 100 != 2) {
    channel->close();
    co_return make_error(Errc::unavailable, reply.ok()
                                                ? "health answered " + std::to_string(reply->head.status)
                                                : "health: " + reply.error().message);
  }
  const auto now = find(id);
  if (now != sandbox || !channel->alive()) {
    channel->close();
    co_return make_error(Errc::unavailable, "ended meanwhile");
  }
  // The boot token proves that this is the agent, so its newest connection is the one it uses.
  if (auto old = std::exchange(sandbox->channel, channel)) old->close();
  serials_[id] = serial;
  say_(ready_packet(id));
  changed_.notify();
  co_return ok();
}

void ChannelRegistry::on_channel_end(const std::string& id, std::uint64_t serial) {
  const auto it = serials_.find(id);
  if (it == serials_.end() || it->second != serial) return;
  serials_.erase(it);
  if (auto sandbox = find(id)) {
    // Not destroyed here: the client may be calling from within itself.
    asio::post(executor_, [old = std::move(sandbox->channel)] {});
    sandbox->channel.reset();
    say_(lost_packet(id));
  }
}

std::shared_ptr<LiveSandbox> ChannelRegistry::find(const std::string& id) const {
  const auto it = sandboxes_.find(id);
  return it == sandboxes_.end() ? nullptr : it->second;
}

std::shared_ptr<LiveSandbox> ChannelRegistry::find_by_token(std::string_view access_token) const {
  if (access_token.empty()) return nullptr;
  const auto it = by_token_.find(sha256(access_token));
  return it == by_token_.end() ? nullptr : find(it->second);
}

bool ChannelRegistry::take_hashes(std::size_t count) {
  const auto now = clock_.steady();
  hashes_ = std::min(
      kSignatureHashesPerSecond,
      hashes_ + std::chrono::duration<double>(now - hashes_refilled_).count() * kSignatureHashesPerSecond);
  hashes_refilled_ = now;
  if (hashes_ < static_cast<double>(count)) return false;
  hashes_ -= static_cast<double>(count);
  return true;
}

Result<std::shared_ptr<LiveSandbox>> ChannelRegistry::find_by_signature(const SignedRequest& request) {
  // Long paths cost more than one block of the hash.
  const std::size_t each = 1 + (request.path.size() + request.user.size()) / 64;
  if (!take_hashes(each * sandboxes_.size()))
    return make_error(Errc::exhausted,
                      "too many signed requests without E2b-Sandbox-Id; send it, or try again in a second");
  std::shared_ptr<LiveSandbox> found;
  for (auto& [id, sandbox] : sandboxes_)
    if (!sandbox->access_token.empty() && signature_matches(request, sandbox->access_token)) found = sandbox;
  if (!found) return make_error(Errc::not_found, std::string("no live sandbox made this signature"));
  return found;
}

Task<bool> ChannelRegistry::wait_synced(Millis at_most) {
  const auto until = std::chrono::steady_clock::now() + at_most;
  while (!synced_) {
    const auto left = std::chrono::duration_cast<Millis>(until - std::chrono::steady_clock::now());
    if (left.count() <= 0) co_return false;
    co_await changed_.wait(left);
  }
  co_return true;
}

Task<std::shared_ptr<rpc::Http2Client>> ChannelRegistry::wait_channel(std::shared_ptr<LiveSandbox> sandbox,
                                                                      Millis at_most) {
  const auto until = std::chrono::steady_clock::now() + at_most;
  for (;;) {
    if (sandbox->channel && sandbox->channel->alive()) co_return sandbox->channel;
    const auto left = std::chrono::duration_cast<Millis>(until - std::chrono::steady_clock::now());
    if (left.count() <= 0 || find(sandbox->id) != sandbox) co_return nullptr;
    co_await changed_.wait(left);
  }
}

}  // namespace atl::edge
