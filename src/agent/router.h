#pragma once
#include "agent/context.h"
#include "agent/files/files_service.h"
#include "agent/metrics.h"
#include "agent/process/process_service.h"
#include "rpc/message.h"
#include "rpc/url.h"

namespace atl::agent {

// Every request on the channel: asks for the token where the route needs one (/files checks it
// itself, since a signature may stand in) and hands it to its service.
class Router {
 public:
  Router(AgentContext& context, ProcessService& processes, FilesService& files, Metrics& metrics)
      : context_(context), processes_(processes), files_(files), metrics_(metrics) {}

  Task<void> handle(rpc::Exchange& exchange);

 private:
  Task<void> handle_rpc(rpc::Exchange& exchange, const rpc::Target& target);
  Task<void> handle_metrics(rpc::Exchange& exchange);
  Task<void> handle_envs(rpc::Exchange& exchange);
  // True when the token is right; else 401 was answered.
  Task<bool> authorised(rpc::Exchange& exchange);

  AgentContext& context_;
  ProcessService& processes_;
  FilesService& files_;
  Metrics& metrics_;
};

}  // namespace atl::agent
