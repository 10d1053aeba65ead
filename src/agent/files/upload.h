#pragma once
#include "agent/context.h"
#include "rpc/message.h"
#include "rpc/url.h"

namespace atl::agent {

// An upload that brings no byte for this long ends with 504.
inline constexpr Millis kUploadIdle{120'000};

// POST /files: multipart/form-data (each part `file`, its path the query's or its file name) or
// application/octet-stream (the query's path), either with Content-Encoding gzip. Files are written
// in place as the bytes arrive: a broken, idle or failed upload leaves what had arrived, as envd does,
// and parts before the failing one stay. Nothing bounds a file but the disk.
Task<void> upload(AgentContext& context, rpc::Exchange& exchange, const rpc::Target& target,
                  Millis idle = kUploadIdle);

}  // namespace atl::agent
