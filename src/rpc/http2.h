#pragma once
#include "rpc/http1.h"
#include "rpc/message.h"

namespace atl::rpc {

// HTTP/2 (nghttp2) over one byte stream that both ends of Atoll own: the agent's channel. No
// TLS, prior knowledge. Settings: frames of up to 256 KiB, stream window 1 MiB, connection
// window 16 MiB, so that one slow stream never holds up the others.
struct Http2Limits {
  std::uint32_t streams_max = 1000;
  std::size_t head_bytes_max = 64 * 1024;
  std::uint32_t stream_window_bytes = 1u << 20;
  std::uint32_t connection_window_bytes = 16u << 20;
  std::uint32_t frame_bytes_max = 256u << 10;
  std::uint32_t resets_per_second_max = 200;  // more ends the connection (rapid reset)
};

// Serves requests on the stream until it ends. CONNECT is offered to the handler like any other
// method (Exchange::tunnel). Returns when every handler has returned.
Task<void> serve_http2(Socket socket, Http2Limits limits, Handler handler);

// The client's end. `on_end` is called once when the connection is lost.
class Http2Client : public Client {
 public:
  virtual void close() = 0;
  virtual bool alive() const = 0;
  // PING and its answer within the deadline.
  virtual Task<Status> ping(Millis deadline) = 0;
};
std::shared_ptr<Http2Client> http2_client(Socket socket, Http2Limits limits, std::function<void()> on_end);

}  // namespace atl::rpc
