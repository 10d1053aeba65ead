#pragma once
#include <deque>
#include <memory>
#include <string>

#include "base/notifier.h"
#include "base/packet_socket.h"
#include "edge/registry.h"

namespace atl::edge {

// The edge's connection to the node's channels.sock: connects, and connects again for ever (50 ms
// doubling to 1 s), and feeds the registry.
class NodeLink {
 public:
  static constexpr std::size_t kOutgoingMax = 8192;

  NodeLink(asio::any_io_executor executor, std::string path) : executor_(executor), path_(std::move(path)) {}
  void start(ChannelRegistry& registry);
  // Dropped while not connected; the registry tells all again after the next connect.
  void say(std::string packet);
  void stop();

 private:
  struct Connection;
  Task<void> keep(ChannelRegistry& registry);
  Task<void> write(std::shared_ptr<Connection> connection);
  Task<void> read(std::shared_ptr<Connection> connection, ChannelRegistry& registry);

  asio::any_io_executor executor_;
  std::string path_;
  std::shared_ptr<Connection> connection_;
  Notifier stopping_;
  bool stopped_ = false;
};

}  // namespace atl::edge
