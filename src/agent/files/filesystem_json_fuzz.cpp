// Bodies of the Filesystem service in both codecs: the first byte picks the message and the codec.
#include <cstdint>
#include <cstdlib>
#include <memory>

#include "agent/codec.h"
#include "proto/filesystem.pb.h"

namespace {

using namespace atl::agent;

std::unique_ptr<google::protobuf::Message> message(unsigned which) {
  switch (which % 6) {
    case 0:
      return std::make_unique<filesystem::StatRequest>();
    case 1:
      return std::make_unique<filesystem::MoveRequest>();
    case 2:
      return std::make_unique<filesystem::ListDirRequest>();
    case 3:
      return std::make_unique<filesystem::WatchDirRequest>();
    case 4:
      return std::make_unique<filesystem::GetWatcherEventsRequest>();
    default:
      return std::make_unique<filesystem::ListDirResponse>();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  auto parsed = message(data[0] >> 1), again = message(data[0] >> 1);
  const Codec codec = data[0] & 1 ? Codec::proto : Codec::json;
  const std::string_view body(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (!parse_message(body, codec, *parsed).ok()) return 0;
  // What was understood can be said again in the binary form, and means the same.
  const std::string said = serialise_message(*parsed, Codec::proto);
  if (!parse_message(said, Codec::proto, *again).ok()) std::abort();
  return 0;
}
