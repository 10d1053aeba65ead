#pragma once
#include <memory>
#include <optional>

#include "agent/codec.h"
#include "agent/process/process.h"

namespace atl::agent {

// The reply of Start and Connect: `start`, then what the reader gets, keepalives in silence, `end`.
// At the deadline it ends with deadline_exceeded (whether the process is killed is not decided
// here). Returns when the stream has ended or the client is gone; the reader is then detached.
Task<void> stream_events(rpc::Exchange& exchange, Codec codec, std::shared_ptr<Process> process,
                         std::shared_ptr<Subscriber> reader, std::optional<Wakeup::TimePoint> deadline,
                         const Clock& clock);

}  // namespace atl::agent
