#pragma once
#include "agent/context.h"
#include "agent/files/file_open.h"
#include "agent/files/metadata.h"
#include "rpc/message.h"

namespace atl::agent {

// Writes all of `source` to an open file: one piece goes to the disk while the next one arrives (two
// pieces of 512 KiB). Then sets the metadata. On failure the file holds what had been
// written. The source bounds its own waits.
Task<Status> write_all(AgentContext& context, rpc::ByteSource& source, OpenFile file, Metadata metadata);

}  // namespace atl::agent
