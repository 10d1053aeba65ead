#pragma once
#include "node/node.h"
#include "proto/node.pb.h"
#include "rpc/message.h"

namespace atl::node {

// proto/node.proto over HTTP: one handler for the node's Unix socket. The caller's uid was checked
// when the connection was accepted.
class NodeService {
 public:
  NodeService(Node& node, Tiers& tiers) : node_(node), tiers_(tiers) {}
  Task<void> handle(rpc::Exchange& exchange);

 private:
  Task<Result<std::string>> unary(std::string method, std::string body);
  Task<Result<std::string>> create(std::string body);
  Task<Result<std::string>> destroy(std::string body);
  Task<Result<std::string>> set_end(std::string body);
  Task<Result<std::string>> logs(std::string body);
  Task<Result<std::string>> tiers();
  Result<std::string> list() const;
  Task<Result<std::string>> usage(std::string body);
  Task<void> events(rpc::Exchange& exchange);

  Node& node_;
  Tiers& tiers_;
};

// The record as the contract shows it: no token is in it.
v1::Sandbox to_proto(const Record& record);

}  // namespace atl::node
