#pragma once
#include <memory>
#include <string>

#include "base/task.h"
#include "proto/node.pb.h"

namespace atl::control {

namespace pb = atl::node::v1;

// The node's stream of events: its sandboxes one by one, one with backlog_end, then each change.
class EventStream {
 public:
  virtual ~EventStream() = default;
  // Waits without a deadline: quiet is normal. An error means that the stream is over; cancel()
  // makes a waiting next() return one.
  virtual Task<Result<pb::Event>> next() = 0;
  virtual void cancel() = 0;
};

// proto/node.proto as seen from control. Every call but the stream has a deadline of its own.
// Errc::unavailable: the node cannot be reached; whether it acted is not known.
class NodeClient {
 public:
  virtual ~NodeClient() = default;
  virtual Task<Result<pb::Sandbox>> create(pb::CreateRequest request) = 0;
  virtual Task<Status> destroy(std::string id, std::string reason) = 0;
  virtual Task<Result<pb::Sandbox>> set_end(std::string id, std::int64_t end_unix_ms, bool only_extend) = 0;
  virtual Task<Result<pb::UsageReply>> usage(pb::UsageRequest request) = 0;
  virtual Task<Result<std::string>> logs(std::string id) = 0;
  virtual Task<Result<pb::TierList>> tiers() = 0;
  virtual Task<Result<std::unique_ptr<EventStream>>> events() = 0;
};

// Over the node's Unix socket.
std::unique_ptr<NodeClient> http_node_client(asio::any_io_executor executor, std::string socket_path);

}  // namespace atl::control
