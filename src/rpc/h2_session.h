#pragma once
#include <nghttp2/nghttp2.h>

#include "base/wakeup.h"
#include "rpc/http2.h"

namespace atl::rpc {

class H2Session;

// One HTTP/2 stream of either side. The session and whoever runs the exchange share it; all of it
// is touched on the loop only.
struct H2Stream {
  explicit H2Stream(asio::any_io_executor executor) : changed(std::move(executor)) {}

  std::int32_t id = 0;
  RequestHead request;             // server side
  ReplyHead reply;                 // client side
  std::string status_text;
  std::size_t head_bytes = 0;
  bool head_complete = false;

  std::string in;                  // received, not yet read; bounded by the stream's window
  std::size_t in_read = 0;
  bool in_end = false;

  std::string_view out;            // a writer's bytes, which it keeps alive until they are taken
  bool out_end = false;            // END_STREAM follows `out`
  bool out_ended = false;          // and was handed to the peer

  bool closed = false;             // by both sides, by a reset or with the connection
  std::function<void()> on_gone;
  Wakeup changed;                  // notified at each change above

  std::size_t unread() const { return in.size() - in_read; }
  bool broken() const { return closed && !(in_end && out_ended); }
};
using H2StreamPtr = std::shared_ptr<H2Stream>;

// nghttp2 over a socket: reads when bytes come, writes at once as far as the socket takes them.
class H2Session : public std::enable_shared_from_this<H2Session> {
 public:
  enum class Side { server, client };
  using OnRequest = std::function<void(H2StreamPtr)>;

  H2Session(Socket socket, Http2Limits limits, Side side);
  ~H2Session();
  H2Session(const H2Session&) = delete;
  H2Session& operator=(const H2Session&) = delete;

  void start(OnRequest on_request, std::function<void()> on_end);
  void close();
  bool alive() const { return alive_; }
  asio::any_io_executor executor() { return socket_.get_executor(); }
  Task<Status> ping(Millis deadline);
  Wakeup& ended() { return ended_; }

  // Client. nullptr: the connection is gone or takes no more streams.
  H2StreamPtr open(const RequestHead& head, bool has_body);
  // Server. `out` and `out_end` of the stream are set before, so that head and body leave together.
  Status respond(H2Stream& stream, const ReplyHead& head, bool has_body);

  Task<Result<std::size_t>> read_some(H2StreamPtr stream, std::span<char> into);
  Task<Status> write(H2StreamPtr stream, std::string_view bytes);
  Task<Status> finish(H2StreamPtr stream);
  // Whoever ran the exchange lets go: unread bytes are dropped, a stream still open is reset.
  void release(H2Stream& stream, std::uint32_t code);

 private:
  struct Callbacks;
  friend struct Callbacks;

  void wait_readable();
  void on_readable();
  void flush();
  bool collect();
  void resume(H2Stream& stream);
  void end();
  void close_stream(const H2StreamPtr& stream);
  H2Stream* find(std::int32_t id);

  Socket socket_;
  Http2Limits limits_;
  Side side_;
  nghttp2_session* session_ = nullptr;
  std::unordered_map<std::int32_t, H2StreamPtr> streams_;
  OnRequest on_request_;
  std::function<void()> on_end_;
  std::vector<char> read_buffer_;
  std::string out_;                // framed, not yet taken by the socket
  std::size_t out_sent_ = 0;
  bool alive_ = true;
  bool in_nghttp2_ = false;        // its callbacks must not call back into it
  bool waiting_writable_ = false;
  std::uint64_t pings_answered_ = 0;
  std::chrono::steady_clock::time_point resets_since_{};
  std::uint32_t resets_ = 0;
  Wakeup ended_;
};

}  // namespace atl::rpc
