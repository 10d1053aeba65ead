#pragma once
#include <deque>
#include <memory>
#include <optional>
#include <string>

#include "agent/process/event_encoder.h"
#include "agent/process/exit_status.h"
#include "base/wakeup.h"

namespace atl::agent {

// One reader of a process's output: what it has not taken yet, in order. The process fills it, the
// RPC's handler empties it; both run on the loop.
class Subscriber {
 public:
  // A process is not read further while its reader has this much waiting.
  static constexpr std::size_t kQueuedBytesMax = 1u << 20;
  // Output is merged up to this much for one event, and written in batches of about 256 KiB.
  static constexpr std::size_t kEventBytesMax = 64u << 10;
  static constexpr std::size_t kBatchBytesMax = 256u << 10;

  explicit Subscriber(asio::any_io_executor executor) : wakeup(std::move(executor)) {}

  void push(OutputStream stream, std::shared_ptr<const std::string> bytes, Wakeup::TimePoint now);
  // Appends events to `out` until it holds a batch, taking them off. False: nothing was waiting.
  bool take_batch(std::string& out, Codec codec);
  bool has_room() const { return queued_ < kQueuedBytesMax; }
  bool empty() const { return chunks_.empty(); }
  Wakeup::TimePoint full_since() const { return full_since_; }

  Wakeup wakeup;                  // something below changed, or output came
  bool gone = false;              // the client went away
  bool cut = false;               // it was too slow, and others waited for it
  std::optional<ExitReport> end;  // follows the output

 private:
  struct Chunk {
    OutputStream stream;
    std::shared_ptr<const std::string> bytes;
  };
  std::deque<Chunk> chunks_;
  std::size_t queued_ = 0;
  Wakeup::TimePoint full_since_{};
};

}  // namespace atl::agent
