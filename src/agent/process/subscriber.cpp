#include "agent/process/subscriber.h"

namespace atl::agent {
namespace {
// What a chunk costs beside its bytes, so that output byte by byte stays within the bound too.
constexpr std::size_t kChunkOverhead = 128;
}  // namespace

void Subscriber::push(OutputStream stream, std::shared_ptr<const std::string> bytes, Wakeup::TimePoint now) {
  const bool had_room = has_room();
  queued_ += bytes->size() + kChunkOverhead;
  chunks_.push_back(Chunk{stream, std::move(bytes)});
  if (had_room && !has_room()) full_since_ = now;
  wakeup.notify();
}

bool Subscriber::take_batch(std::string& out, Codec codec) {
  if (chunks_.empty()) return false;
  std::string merged;
  while (!chunks_.empty()) {
    if (!out.empty() && out.size() + encoded_size_max(chunks_.front().bytes->size()) > kBatchBytesMax) break;
    const OutputStream stream = chunks_.front().stream;
    std::shared_ptr<const std::string> only = chunks_.front().bytes;
    merged.clear();
    std::size_t count = 0, size = 0;
    for (; count < chunks_.size() && chunks_[count].stream == stream; ++count) {
      const std::string& bytes = *chunks_[count].bytes;
      if (count > 0 && size + bytes.size() > kEventBytesMax) break;
      size += bytes.size();
    }
    if (count > 1)
      for (std::size_t i = 0; i < count; ++i) merged += *chunks_[i].bytes;
    append_output_event(out, codec, stream, count > 1 ? std::string_view(merged) : *only);
    chunks_.erase(chunks_.begin(), chunks_.begin() + static_cast<std::ptrdiff_t>(count));
    queued_ -= size + count * kChunkOverhead;
  }
  return true;
}

}  // namespace atl::agent
