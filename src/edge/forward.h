#pragma once
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>

#include "rpc/message.h"

namespace atl::edge {

struct ForwardOptions {
  std::uint64_t request_bytes_max = std::numeric_limits<std::uint64_t>::max();
  Millis body_idle_max{0};                          // between two pieces of the request's body, while the reply rests too; 0 = no bound
  std::function<void(rpc::ReplyHead&)> edit_reply;  // may be empty
};

struct Forwarded {
  Status status = ok();
  bool reply_started = false;  // else the caller still owes the client an answer
  bool request_too_large = false;
  bool request_too_slow = false;
};

// Streams the request's body up and the reply down, both at once, chunk by chunk; memory is one
// buffer each way. A client that goes away cancels `upstream`. A 101 becomes raw bytes both ways.
Task<Forwarded> forward(rpc::Exchange& exchange, rpc::ClientExchange& upstream, ForwardOptions options);

// The head to send on: hop-by-hop fields, Expect, and x-atoll-* (which only Atoll itself sets) are
// left out; names in lower case, as HTTP/2 demands.
rpc::RequestHead forwarded_head(const rpc::RequestHead& request);
void strip_reply(rpc::ReplyHead& head);

// A CONNECT exchange as a plain stream.
std::unique_ptr<rpc::ByteStream> tunnel_stream(std::unique_ptr<rpc::ClientExchange> exchange);

}  // namespace atl::edge
