// What a client's bytes become: every request of the process service in both codecs, and whether a
// message that was read is written and read again as the same.
#include "agent/codec.h"
#include "agent/process/environment.h"
#include "proto/process.pb.h"

namespace {

using atl::agent::Codec;

template <class Message>
void round_trip(std::string_view bytes, Codec codec) {
  Message message, again;
  if (!atl::agent::parse_message(bytes, codec, message).ok()) return;
  const std::string text = atl::agent::serialise_message(message, Codec::proto);
  if (!atl::agent::parse_message(text, Codec::proto, again).ok()) __builtin_trap();
  (void)atl::agent::serialise_message(message, Codec::json);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  if (size == 0) return 0;
  const Codec codec = (data[0] & 1) != 0 ? Codec::json : Codec::proto;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] >> 1 & 3) {
    case 0:
      round_trip<process::StartRequest>(bytes, codec);
      break;
    case 1:
      round_trip<process::SendInputRequest>(bytes, codec);
      break;
    case 2:
      round_trip<process::StreamInputRequest>(bytes, codec);
      break;
    default:
      round_trip<process::UpdateRequest>(bytes, codec);
      break;
  }
  process::StartRequest start;
  if (atl::agent::parse_message(bytes, codec, start).ok()) (void)atl::agent::check_config(start.process());
  return 0;
}
