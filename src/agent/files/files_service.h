#pragma once
#include <memory>
#include <string_view>

#include "agent/codec.h"
#include "agent/context.h"
#include "rpc/message.h"
#include "rpc/url.h"

namespace atl::agent {

class Watchers;

// Everything about files that E2B's clients ask of the agent: the Filesystem service, GET and POST
// /files, POST /files/compose. Lives on the loop; one for the whole agent, it outlives every
// handler. Blocking calls go to the context's pool. A guest that mounts a file system that never
// answers (FUSE) can hold a thread of the pool for as long as it likes.
class FilesService {
 public:
  explicit FilesService(AgentContext& context);
  ~FilesService();

  // `method` is what follows "/filesystem.Filesystem/". The caller has checked the token.
  Task<void> handle_rpc(rpc::Exchange& exchange, std::string_view method, Codec codec);
  // /files (which checks token or signature itself) and /files/compose.
  Task<void> handle_http(rpc::Exchange& exchange, const rpc::Target& target);

 private:
  AgentContext& context_;
  std::unique_ptr<Watchers> watchers_;
};

}  // namespace atl::agent
