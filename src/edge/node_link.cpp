#include "edge/node_link.h"

namespace atl::edge {

struct NodeLink::Connection {
  Connection(asio::any_io_executor executor, UniqueFd fd) : socket(executor, std::move(fd)) {}
  PacketSocket socket;
  std::deque<std::string> outgoing;
  Notifier more;
  bool ended = false;
  void end() {
    ended = true;
    socket.close();
    more.notify();
  }
};

void NodeLink::start(ChannelRegistry& registry) {
  spawn(executor_, "channels.sock", keep(registry));
}

void NodeLink::stop() {
  stopped_ = true;
  if (connection_) connection_->end();
  stopping_.notify();
}

void NodeLink::say(std::string packet) {
  if (!connection_ || connection_->ended) return;
  if (connection_->outgoing.size() >= kOutgoingMax) {
    log_warn("the node does not take packets; connecting anew");
    connection_->end();
    return;
  }
  connection_->outgoing.push_back(std::move(packet));
  connection_->more.notify();
}

Task<void> NodeLink::keep(ChannelRegistry& registry) {
  Millis pause{50};
  std::string last_error;
  while (!stopped_) {
    auto fd = connect_unix(path_, SOCK_SEQPACKET);
    if (fd.ok()) {
      pause = Millis(50);
      last_error.clear();
      connection_ = std::make_shared<Connection>(executor_, std::move(*fd));
      registry.on_node_connected();
      spawn(executor_, "packets to the node", write(connection_));
      co_await read(connection_, registry);
      connection_->end();
      connection_.reset();
      registry.on_node_lost();
    } else if (fd.error().message != last_error) {
      last_error = fd.error().message;
      log_warn("the node is not there", {{"error", last_error}});
    }
    if (!stopped_) co_await stopping_.wait(pause);
    pause = std::min(pause * 2, Millis(1000));
  }
}

Task<void> NodeLink::write(std::shared_ptr<Connection> connection) {
  while (!connection->ended) {
    if (connection->outgoing.empty()) {
      co_await connection->more.wait(Millis(60'000));
      continue;
    }
    std::string next = std::move(connection->outgoing.front());
    connection->outgoing.pop_front();
    const auto sent = co_await connection->socket.send(std::move(next), -1, Millis(10'000));
    if (!sent.ok()) connection->end();
  }
}

Task<void> NodeLink::read(std::shared_ptr<Connection> connection, ChannelRegistry& registry) {
  while (!connection->ended) {
    auto got = co_await connection->socket.receive();
    if (!got.ok()) log_warn("bad packet of the node", {{"error", got.error().message}});
    if (!got.ok() || !got->has_value()) co_return;
    Packet& raw = **got;
    auto packet = parse_node_packet(raw.bytes);
    if (!packet.ok()) {
      log_warn("bad packet of the node", {{"error", packet.error().message}});
      co_return;
    }
    registry.on_packet(std::move(*packet), std::move(raw.fd));
  }
}

}  // namespace atl::edge
