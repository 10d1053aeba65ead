#pragma once
#include "rpc/message.h"

namespace atl::rpc {

// The Connect protocol's framing: 1 flag byte, 4-byte big-endian length, payload.
// https://connectrpc.com/docs/protocol
inline constexpr std::uint8_t kEnvelopeCompressed = 1;
inline constexpr std::uint8_t kEnvelopeEnd = 2;

std::string envelope(std::uint8_t flags, std::string_view payload);

struct Envelope {
  std::uint8_t flags = 0;
  std::string payload;
};

// Reads envelopes off a source. nullopt = the body ended between two envelopes. A payload over
// `payload_bytes_max`, a cut envelope or an unknown flag is Errc::invalid.
class EnvelopeReader {
 public:
  EnvelopeReader(ByteSource& source, std::size_t payload_bytes_max)
      : source_(source), max_(payload_bytes_max) {}
  Task<Result<std::optional<Envelope>>> next();

 private:
  ByteSource& source_;
  std::size_t max_;
  std::string buffered_;
};

// Connect's name of a code ("not_found") and its HTTP status in a unary error reply.
std::string_view connect_code(Errc code);
int connect_status(Errc code);

// {"code":"...","message":"..."} for unary errors; {"error":{...}} or {} for the end frame.
std::string connect_error_json(const Error& error);
std::string connect_end_json(const Status& outcome);

}  // namespace atl::rpc
