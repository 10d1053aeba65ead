#pragma once
#include <nghttp2/nghttp2.h>

#include "base/wakeup.h"
#include "rpc/http2.h"

namespace atl::rpc {

// One HTTP/2 stream of either side. The session and whoever runs the exchange share it; all of it
// is touched on the loop only.
struct H2Stream {
  explicit H2Stream(asio::any_io_executor executor) : changed(std::move(executor)) {}

  std::int32_t id = 0;
  RequestHead request;  // server side
  ReplyHead reply;      // client side
  std::string status_text;
  std::size_t head_bytes = 0;
  bool head_complete = false;

  std::string in;  // received, not yet read; bounded by the stream's window
  std::size_t in_read = 0;
  bool in_end = false;

  std::string_view out;                   // a writer's bytes, which it keeps alive until they are taken
  std::optional<std::uint64_t> out_left;  // of a body with a length: its last bytes carry END_STREAM
  bool out_end = false;                   // END_STREAM follows `out`
  bool out_ended = false;                 // and was handed to the peer
  std::chrono::steady_clock::time_point out_since{};  // the last time `out` was lent or became less
  bool out_cut = false;                   // a write was cancelled half-way: the stream must not end well

  bool closed = false;      // by both sides, by a reset, with the connection, or let go here
  bool released = false;    // nobody reads it any more
  std::uint32_t error = 0;  // of a reset
  std::function<void()> on_gone;
  Wakeup changed;  // notified at each change above

  std::size_t unread() const { return in.size() - in_read; }
};
using H2StreamPtr = std::shared_ptr<H2Stream>;

// Lends bytes to a stream: however this ends (a cancelled wait included), the stream no longer
// points to them.
class H2Lent {
 public:
  H2Lent(H2Stream& stream, std::string_view bytes) : stream_(stream) {
    stream_.out = bytes;
    stream_.out_since = std::chrono::steady_clock::now();
  }
  H2Lent(const H2Lent&) = delete;
  H2Lent& operator=(const H2Lent&) = delete;
  ~H2Lent() {
    if (!stream_.out.empty()) stream_.out_cut = true;
    stream_.out = {};
  }

 private:
  H2Stream& stream_;
};

// nghttp2 over a socket: reads when bytes come, writes at once as far as the socket takes them.
class H2Session : public std::enable_shared_from_this<H2Session> {
 public:
  enum class Side { server, client };
  using OnRequest = std::function<void(H2StreamPtr)>;

  H2Session(Socket socket, std::unique_ptr<SecureLayer> layer, Http2Limits limits, Side side);
  ~H2Session();
  H2Session(const H2Session&) = delete;
  H2Session& operator=(const H2Session&) = delete;

  // `on_end` is posted once when the connection is lost, not after close().
  void start(OnRequest on_request, std::function<void()> on_end);
  void close();
  // Server. Requests that come from now on are refused; the connection ends with the last one.
  void wind_down();
  bool alive() const { return alive_; }
  bool has_streams() const { return !streams_.empty(); }
  std::chrono::steady_clock::time_point last_use() const { return last_use_; }
  const std::string& peer() const { return peer_; }
  const Http2Limits& limits() const { return limits_; }
  asio::any_io_executor executor() { return socket_.get_executor(); }
  Task<Status> ping(Millis deadline);
  Wakeup& ended() { return ended_; }

  // Client. The head leaves with the first bytes of the body, or at the end of this turn of the loop.
  Result<H2StreamPtr> open(const RequestHead& head, bool has_body);
  // Server. Where `out` and `out_end` of the stream are set before, head and body leave together.
  Status respond(H2Stream& stream, const ReplyHead& head, bool has_body);

  Task<Result<std::size_t>> read_some(H2StreamPtr stream, std::span<char> into);
  Task<Status> write(H2StreamPtr stream, std::string_view bytes);
  Task<Status> finish(H2StreamPtr stream);
  // Whoever ran the exchange lets go: unread bytes are dropped, a stream still open is reset, waits
  // on it end.
  void release(H2Stream& stream, std::uint32_t code);

  static Error gone(const H2Stream& stream);

 private:
  friend struct H2Callbacks;

  void wait_readable();
  void on_readable();
  void hand_over_requests();
  ssize_t receive(std::span<char> into);
  ssize_t send(std::string_view bytes);
  void read_later();
  bool collect();
  void flush();
  void flush_soon();
  void resume(H2Stream& stream);
  void end();
  void close_stream(const H2StreamPtr& stream, std::uint32_t error);
  H2StreamPtr find(std::int32_t id) const;
  void received(H2Stream* stream, std::int32_t id, std::string_view bytes);
  void pay(std::size_t bytes_read);
  bool too_many_resets();
  bool too_many_idle_frames();
  bool count(std::uint32_t& seen, std::chrono::steady_clock::time_point& since, std::uint32_t most);
  void head_ended() {
    --open_heads_;
    head_since_ = std::chrono::steady_clock::now();
  }
  void watch_time();
  // Streams whose readers have taken nothing for too long would keep their handlers for ever.
  void reset_stalled(std::chrono::steady_clock::time_point now);
  bool too_many_head_bytes() const;
  // What the peer is too slow with; "" = nothing.
  std::string_view overdue(std::chrono::steady_clock::time_point now);

  Socket socket_;
  std::unique_ptr<SecureLayer> layer_;  // not to be used once the socket is closed
  std::string peer_;
  Http2Limits limits_;
  Side side_;
  nghttp2_session* session_ = nullptr;
  std::unordered_map<std::int32_t, H2StreamPtr> streams_;
  std::vector<H2StreamPtr> requests_;  // arrived within nghttp2's callbacks, not yet handed over
  OnRequest on_request_;
  std::function<void()> on_end_;
  std::string out_;  // framed, not yet taken by the socket
  std::size_t out_sent_ = 0;
  // Bytes of all streams that wait for readers. Up to a connection's window they do not count against
  // it, so that many stopped readers hold up nobody; beyond that they do (`owed_`).
  std::size_t unread_ = 0, owed_ = 0;
  bool alive_ = true;
  bool in_nghttp2_ = false;  // its callbacks must not call back into it
  bool waiting_writable_ = false;
  bool flush_posted_ = false;
  std::uint64_t pings_answered_ = 0;
  std::chrono::steady_clock::time_point resets_since_{};
  std::uint32_t resets_ = 0;
  std::chrono::steady_clock::time_point idle_frames_since_{};
  std::uint32_t idle_frames_ = 0;
  asio::steady_timer timer_;  // looks again and again, where there are deadlines
  bool settled_ = false;      // the peer's first SETTINGS came
  bool asked_ = false;        // and a request
  std::chrono::steady_clock::time_point last_use_, head_since_, unsent_since_;
  std::size_t open_heads_ = 0;  // requests whose fields are still coming
  Wakeup ended_;
};

}  // namespace atl::rpc
