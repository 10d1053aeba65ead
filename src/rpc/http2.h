#pragma once
#include "rpc/http1.h"
#include "rpc/message.h"

namespace atl::rpc {

// HTTP/2 (nghttp2) over one byte stream: the agent's channel, whose ends are both ours (prior
// knowledge), or a client's TLS connection (see client_limits). The defaults are the channel's: frames
// of up to 256 KiB, stream window 1 MiB, connection window 16 MiB, so that one slow stream never holds
// up the others. A deadline of 0 = none.
struct Http2Limits {
  std::uint32_t streams_max = 1000;
  std::size_t head_bytes_max = 64 * 1024;
  std::uint32_t stream_window_bytes = 1u << 20;
  std::uint32_t connection_window_bytes = 16u << 20;
  std::uint32_t frame_bytes_max = 256u << 10;
  // More ends the connection (rapid reset). On the channel each request to a user's port ends with a
  // reset of its tunnel, so this is far above what one can carry.
  std::uint32_t resets_per_second_max = 1'000'000;
  // Frames that cost work and carry nothing (PING, SETTINGS, PRIORITY, empty DATA); 0 = not counted.
  std::uint32_t idle_frames_per_second_max = 0;
  Millis head_deadline{0};   // preface and first SETTINGS, and each request's fields
  Millis first_request_deadline{0};  // of a new connection
  Millis idle_deadline{0};           // of a connection without requests
  // Of a socket that takes nothing, and of a stream whose window stays shut: that one is reset.
  Millis write_deadline{0};
  // Fields of all requests under way on a connection; more are refused. 0 = not counted.
  std::size_t open_head_bytes_max = 0;
};

// For connections of strangers. At most twice the connection's window lies in memory for one.
Http2Limits client_limits();

// Serves requests on the stream until it ends. CONNECT is offered to the handler like any other
// method (Exchange::tunnel). Returns when every handler has returned.
Task<void> serve_http2(Socket socket, Http2Limits limits, Handler handler);

// Many such connections, with TLS on them.
class Http2Server {
 public:
  Http2Server(asio::any_io_executor executor, Http2Limits limits, std::size_t connections_max, Handler handler);
  ~Http2Server();
  // Over the bound the connection that has been without requests for longest makes room; where all have
  // some, the new one is told to go (GOAWAY) and closed.
  void serve(Socket socket, std::unique_ptr<SecureLayer> layer);
  // Takes no further requests, waits up to `grace` for those under way, then closes all.
  Task<void> stop(Millis grace);

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

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
