#pragma once
#include "agent/context.h"
#include "rpc/message.h"
#include "rpc/url.h"

namespace atl::agent {

// GET /files. Checks come in envd's order: token or signature, user (401), path, absence (404),
// folders and special files (400), Accept-Encoding (406).
//
// Files up to 8 MiB are sent gzipped where that is accepted, larger ones as they are (compressing
// would be slower than any network near enough to matter), unless identity is refused. Ranges are
// always sent as they are. A file that tells no length (procfs) is read to its end.
Task<void> download(AgentContext& context, rpc::Exchange& exchange, const rpc::Target& target);

}  // namespace atl::agent
