#pragma once
#include <boost/asio/thread_pool.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/task.h"
#include "rpc/connect.h"
#include "rpc/message.h"

namespace google::protobuf {
class Message;
}

namespace atl::agent {

// How the messages of an RPC are written. Connect says it by the content type
// (https://connectrpc.com/docs/protocol): application/json, application/proto for unary calls,
// application/connect+json, application/connect+proto for streams.
enum class Codec : std::uint8_t { json, proto };

struct ContentKind {
  Codec codec;
  bool stream;
};
// nullopt: none of the four. Parameters (";charset=utf-8") are tolerated.
std::optional<ContentKind> content_kind(const rpc::RequestHead& request);

// proto3 JSON: names in camelCase (either spelling is read), unknown fields ignored, bytes in
// base64, 64-bit numbers as strings. Errc::invalid when the bytes are no such message. An empty
// JSON text is the empty message.
Status parse_message(std::string_view bytes, Codec codec, google::protobuf::Message& into);
// The same for a coroutine: a large message (JSON takes about 8 ms a megabyte) is parsed on the pool.
// `bytes` and `into` must outlive the call.
Task<Status> parse_message_on(asio::thread_pool& pool, std::string_view bytes, Codec codec,
                              google::protobuf::Message& into);
std::string serialise_message(const google::protobuf::Message& message, Codec codec);

// The deadline that Connect-Timeout-Ms asks for; nullopt = none given, or no number.
std::optional<Millis> connect_timeout(const rpc::Headers& headers);
// Keepalive-Ping-Interval in seconds (default 90, at least 1).
Millis keepalive_interval(const rpc::Headers& headers);

// Unary calls. read_unary gives false when the request was wrong and has been answered (415 for a
// stream's content type, else a Connect error). With a pool large messages are parsed there.
Task<bool> read_unary(rpc::Exchange& exchange, Codec codec, google::protobuf::Message& into,
                      asio::thread_pool* pool = nullptr);
Task<void> reply_unary(rpc::Exchange& exchange, Codec codec, const google::protobuf::Message& message);
Task<void> reply_error(rpc::Exchange& exchange, const Error& error);
// 415 with the types that are spoken here; HTTP's own answer, as Connect demands.
Task<void> reply_unsupported_type(rpc::Exchange& exchange);

// Server streams. read_stream_request reads the one request message; false as above (a wrong
// message is an error in the end frame).
Task<bool> read_stream_request(rpc::Exchange& exchange, Codec codec, google::protobuf::Message& into);

// The reply of a stream: HTTP 200, messages in envelopes, and the end frame that says how it went.
// Errc::unavailable from any of them = the client is gone.
class StreamWriter {
 public:
  StreamWriter(rpc::Exchange& exchange, Codec codec) : exchange_(exchange), codec_(codec) {}
  Codec codec() const { return codec_; }
  bool started() const { return started_; }
  // Sends the head; send and finish do it where it was not done.
  Task<Status> start();
  Task<Status> send(const google::protobuf::Message& message);
  // Bytes that are envelopes already (rpc::envelope), one or several.
  Task<Status> send_envelopes(std::string_view bytes);
  // The mandatory end frame: {} or {"error":{...}}.
  Task<Status> finish(Status outcome);

 private:
  rpc::Exchange& exchange_;
  Codec codec_;
  bool started_ = false;
};

// Plain routes (not RPC): {"code":status,"message":...}
Task<void> reply_plain_error(rpc::Exchange& exchange, int status, std::string_view message);

}  // namespace atl::agent
