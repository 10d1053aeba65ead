#include "rpc/h2_session.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <boost/asio/post.hpp>
#include <cstring>

#include "rpc/h2_callbacks.h"
#include "rpc/h2_fields.h"
#include "rpc/peer_address.h"

namespace atl::rpc {
namespace {

constexpr std::size_t kReadBuffer = 256 * 1024;
constexpr std::size_t kOutBuffer = 512 * 1024;  // framed bytes at once; a frame may go beyond
constexpr std::size_t kIdleBuffer = 16 * 1024;  // kept by a connection without streams
constexpr int kReadsPerTurn = 4;                // then other work of the loop gets its turn
constexpr std::size_t kHeadBlockMax = 256 * 1024;

// Filled and used up within one call, so all sessions of a thread share it.
std::span<char> read_buffer() {
  thread_local const auto buffer = std::make_unique_for_overwrite<char[]>(kReadBuffer);
  return {buffer.get(), kReadBuffer};
}

}  // namespace

Error H2Session::gone(const H2Stream& stream) {
  if (stream.released) return make_error(Errc::unavailable, "the HTTP/2 stream was cancelled here");
  if (stream.error == NGHTTP2_NO_ERROR)
    return make_error(Errc::unavailable, "the HTTP/2 connection or stream is closed");
  return make_error(Errc::unavailable,
                    std::string("the HTTP/2 stream was reset: ") + nghttp2_http2_strerror(stream.error));
}

H2Session::H2Session(Socket socket, std::unique_ptr<SecureLayer> layer, Http2Limits limits, Side side)
    : socket_(std::move(socket)),
      layer_(std::move(layer)),
      peer_(peer_address(socket_)),
      limits_(limits),
      side_(side),
      timer_(socket_.get_executor()),
      ended_(socket_.get_executor()) {
  nghttp2_session_callbacks* callbacks = nullptr;
  nghttp2_session_callbacks_new(&callbacks);
  H2Callbacks::set(callbacks);
  nghttp2_option* option = nullptr;
  nghttp2_option_new(&option);
  nghttp2_option_set_no_auto_window_update(option, 1);
  nghttp2_option_set_peer_max_concurrent_streams(option, limits_.streams_max);
  nghttp2_option_set_max_send_header_block_length(option, kHeadBlockMax);
  // Our own count is stricter over a second, and lets long-lived channels cancel often.
  nghttp2_option_set_stream_reset_rate_limit(option, limits_.resets_per_second_max * 2ull,
                                             limits_.resets_per_second_max);
  const auto make = side == Side::server ? nghttp2_session_server_new2 : nghttp2_session_client_new2;
  make(&session_, callbacks, this, option);
  nghttp2_option_del(option);
  nghttp2_session_callbacks_del(callbacks);
}

H2Session::~H2Session() {
  nghttp2_session_del(session_);
}

void H2Session::start(OnRequest on_request, std::function<void()> on_end) {
  on_request_ = std::move(on_request);
  on_end_ = std::move(on_end);
  const nghttp2_settings_entry settings[] = {
      {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, limits_.streams_max},
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, limits_.stream_window_bytes},
      {NGHTTP2_SETTINGS_MAX_FRAME_SIZE, limits_.frame_bytes_max},
      {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, static_cast<std::uint32_t>(limits_.head_bytes_max)},
      {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
  };
  const std::size_t count = side_ == Side::client ? 5 : 4;
  nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, settings, count);
  nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, 0,
                                        static_cast<std::int32_t>(limits_.connection_window_bytes));
  const int fd = socket_.native_handle(), on = 1;
  ::fcntl(fd, F_SETFD, FD_CLOEXEC);
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  ::setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  last_use_ = head_since_ = std::chrono::steady_clock::now();
  flush();
  if (!alive_) return;
  watch_time();
  wait_readable();
}

ssize_t H2Session::receive(std::span<char> into) {
  if (layer_) return layer_->read(into);
  return ::recv(socket_.native_handle(), into.data(), into.size(), MSG_DONTWAIT);
}

ssize_t H2Session::send(std::string_view bytes) {
  if (layer_) return layer_->write(bytes);
  return ::send(socket_.native_handle(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
}

H2StreamPtr H2Session::find(std::int32_t id) const {
  const auto found = streams_.find(id);
  return found == streams_.end() ? nullptr : found->second;
}

// What a layer holds makes the socket readable no more.
void H2Session::read_later() {
  if (!layer_ || !layer_->has_unread()) return wait_readable();
  asio::post(executor(), [self = shared_from_this()] {
    if (self->alive_) self->on_readable();
  });
}

void H2Session::wait_readable() {
  socket_.async_wait(Socket::wait_read, [self = shared_from_this()](boost::system::error_code error) {
    if (!self->alive_) return;
    if (error)
      self->end();
    else
      self->on_readable();
  });
}

void H2Session::on_readable() {
  const auto buffer = read_buffer();
  for (int turn = 0; turn < kReadsPerTurn; ++turn) {
    const ssize_t n = receive(buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) break;
    if (n <= 0) return end();
    in_nghttp2_ = true;
    const ssize_t used =
        nghttp2_session_mem_recv(session_, reinterpret_cast<const std::uint8_t*>(buffer.data()), n);
    in_nghttp2_ = false;
    hand_over_requests();
    if (!alive_) return;
    flush();  // its GOAWAY too, where it made one
    if (used < 0) {
      log_debug("http2 connection ended by an error of the peer's",
                {{"error", nghttp2_strerror(static_cast<int>(used))}, {"peer", peer_}});
      end();
    }
    if (!alive_) return;
    if (static_cast<std::size_t>(n) < buffer.size()) break;
  }
  read_later();
}

void H2Session::hand_over_requests() {
  for (auto& stream : std::exchange(requests_, {})) {
    if (stream->closed) continue;
    asked_ = true;
    if (too_many_head_bytes())
      release(*stream, NGHTTP2_ENHANCE_YOUR_CALM);
    else
      on_request_(std::move(stream));
  }
}

bool H2Session::too_many_head_bytes() const {
  if (limits_.open_head_bytes_max == 0) return false;
  std::size_t bytes = 0;
  for (const auto& [id, stream] : streams_) bytes += stream->head_bytes;
  return bytes > limits_.open_head_bytes_max;
}

void H2Session::received(H2Stream* stream, std::int32_t id, std::string_view bytes) {
  if (!stream || stream->released) {
    nghttp2_session_consume(session_, id, bytes.size());
    return;
  }
  // What was read goes when it is the larger half, so that each byte is moved at most once.
  if (stream->in_read >= stream->unread()) stream->in.erase(0, std::exchange(stream->in_read, 0));
  stream->in.append(bytes);
  unread_ += bytes.size();
  if (unread_ <= limits_.connection_window_bytes)
    nghttp2_session_consume_connection(session_, bytes.size());
  else
    owed_ += bytes.size();
  stream->changed.notify();
}

void H2Session::pay(std::size_t bytes_read) {
  unread_ -= bytes_read;
  const std::size_t paid = std::min(owed_, bytes_read);
  owed_ -= paid;
  if (paid > 0 && alive_) nghttp2_session_consume_connection(session_, paid);
}

// True: within one second there were more than `most`.
bool H2Session::count(std::uint32_t& seen, std::chrono::steady_clock::time_point& since, std::uint32_t most) {
  const auto now = std::chrono::steady_clock::now();
  if (now - since > std::chrono::seconds(1)) {
    since = now;
    seen = 0;
  }
  if (++seen <= most) return false;
  nghttp2_submit_goaway(session_, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(session_),
                        NGHTTP2_ENHANCE_YOUR_CALM, nullptr, 0);
  return true;
}

// A peer that opens streams and resets them, or has them reset, costs work without ever holding many.
bool H2Session::too_many_resets() {
  return side_ == Side::server && count(resets_, resets_since_, limits_.resets_per_second_max);
}

bool H2Session::too_many_idle_frames() {
  return limits_.idle_frames_per_second_max > 0 &&
         count(idle_frames_, idle_frames_since_, limits_.idle_frames_per_second_max);
}

// Frames what may be sent now, up to the bound. False: the session is broken.
bool H2Session::collect() {
  in_nghttp2_ = true;
  bool good = true;
  while (out_.size() < kOutBuffer) {
    const std::uint8_t* data = nullptr;
    const ssize_t n = nghttp2_session_mem_send(session_, &data);
    if (n > 0) out_.append(reinterpret_cast<const char*>(data), n);
    if (n > 0) continue;
    good = n == 0;
    break;
  }
  in_nghttp2_ = false;
  return good;
}

void H2Session::flush() {
  if (!alive_ || in_nghttp2_ || waiting_writable_) return;
  for (;;) {
    if (out_sent_ == out_.size()) {
      out_.clear();
      out_sent_ = 0;
      if (streams_.empty() && out_.capacity() > kIdleBuffer) out_ = std::string();
      const bool good = collect();
      if (!good ||
          (out_.empty() && !nghttp2_session_want_read(session_) && !nghttp2_session_want_write(session_)))
        return end();
      if (out_.empty()) return;
    }
    const ssize_t n = send(std::string_view(out_).substr(out_sent_));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno != EAGAIN) return end();
    if (n > 0) out_sent_ += n;
    if (n > 0) continue;
    waiting_writable_ = true;
    unsent_since_ = std::chrono::steady_clock::now();
    socket_.async_wait(Socket::wait_write, [self = shared_from_this()](boost::system::error_code error) {
      self->waiting_writable_ = false;
      if (!self->alive_) return;
      if (error)
        self->end();
      else
        self->flush();
    });
    return;
  }
}

void H2Session::flush_soon() {
  if (!alive_ || std::exchange(flush_posted_, true)) return;
  asio::post(executor(), [self = shared_from_this()] {
    self->flush_posted_ = false;
    self->flush();
  });
}

void H2Session::close_stream(const H2StreamPtr& stream, std::uint32_t error) {
  if (!stream->closed) stream->error = error;
  stream->closed = true;
  if (stream->on_gone && !stream->out_ended) {
    // Later, since this may be within nghttp2; not at all when the exchange has ended by then.
    asio::post(executor(), [stream] {
      if (auto callback = std::exchange(stream->on_gone, nullptr)) callback();
    });
  }
  stream->changed.notify();
}

void H2Session::end() {
  if (!std::exchange(alive_, false)) return;
  auto streams = std::exchange(streams_, {});
  requests_.clear();
  for (auto& [id, stream] : streams) close_stream(stream, NGHTTP2_NO_ERROR);
  timer_.cancel();
  if (layer_) layer_->say_end();
  boost::system::error_code ignored;
  socket_.close(ignored);
  ended_.notify();
  if (on_end_) asio::post(executor(), std::exchange(on_end_, nullptr));
}

void H2Session::close() {
  if (!alive_) return;
  on_end_ = nullptr;
  nghttp2_session_terminate_session(session_, NGHTTP2_NO_ERROR);
  flush();
  end();
}

void H2Session::wind_down() {
  if (!alive_) return;
  nghttp2_submit_goaway(session_, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(session_),
                        NGHTTP2_NO_ERROR, nullptr, 0);
  flush();
}

std::string_view H2Session::overdue(std::chrono::steady_clock::time_point now) {
  const auto over = [now](std::chrono::steady_clock::time_point since, Millis limit) {
    return limit.count() > 0 && now - since > limit;
  };
  if (!settled_ && over(head_since_, limits_.head_deadline)) return "its first SETTINGS";
  if (open_heads_ > 0 && over(head_since_, limits_.head_deadline)) return "a request's fields";
  if (waiting_writable_ && over(unsent_since_, limits_.write_deadline)) return "taking what is sent";
  if (!asked_ && open_heads_ == 0 && over(last_use_, limits_.first_request_deadline)) return "its first request";
  if (streams_.empty() && over(last_use_, limits_.idle_deadline)) return "a request";
  return {};
}

void H2Session::reset_stalled(std::chrono::steady_clock::time_point now) {
  if (limits_.write_deadline.count() == 0) return;
  std::vector<H2StreamPtr> stalled;
  for (const auto& [id, stream] : streams_)
    if (!stream->out.empty() && now - stream->out_since > limits_.write_deadline) stalled.push_back(stream);
  for (const H2StreamPtr& stream : stalled) {
    log_debug("http2 stream reset: its reader takes nothing", {{"peer", peer_}});
    release(*stream, NGHTTP2_CANCEL);
  }
}

void H2Session::watch_time() {
  Millis shortest{0};
  for (const Millis limit : {limits_.head_deadline, limits_.first_request_deadline, limits_.idle_deadline, limits_.write_deadline})
    if (limit.count() > 0 && (shortest.count() == 0 || limit < shortest)) shortest = limit;
  if (shortest.count() == 0) return;
  timer_.expires_after(std::clamp(shortest / 4, Millis(1), Millis(1000)));
  timer_.async_wait([weak = weak_from_this()](boost::system::error_code error) {
    const auto self = weak.lock();
    if (error || !self || !self->alive_) return;
    const auto now = std::chrono::steady_clock::now();
    self->reset_stalled(now);
    const auto late = self->overdue(now);
    if (late.empty()) return self->watch_time();
    log_debug("http2 connection closed: too slow", {{"with", late}, {"peer", self->peer_}});
    self->close();
  });
}

Task<Status> H2Session::ping(Millis deadline) {
  const auto self = shared_from_this();
  const auto until = std::chrono::steady_clock::now() + deadline;
  const std::uint64_t before = pings_answered_;
  nghttp2_submit_ping(session_, NGHTTP2_FLAG_NONE, nullptr);
  flush();
  while (alive_ && pings_answered_ == before) {
    if (std::chrono::steady_clock::now() >= until)
      co_return make_error(Errc::deadline,
                           "no answer to an HTTP/2 ping within " + std::to_string(deadline.count()) + " ms");
    co_await ended_.wait_until(until);
  }
  if (!alive_) co_return make_error(Errc::unavailable, "the HTTP/2 connection is closed");
  co_return ok();
}

Result<H2StreamPtr> H2Session::open(const RequestHead& head, bool has_body) {
  if (!alive_ || !nghttp2_session_check_request_allowed(session_))
    return make_error(Errc::unavailable, "the HTTP/2 connection is closed");
  if (streams_.size() >= limits_.streams_max)
    return make_error(Errc::exhausted, "the HTTP/2 connection carries its limit of " +
                                           std::to_string(limits_.streams_max) +
                                           " requests already; try again when some have ended");
  H2FieldList fields;
  const bool tunnel = head.method == "CONNECT";
  const bool open_body = has_body || tunnel;
  fields.add(":method", head.method);
  if (!tunnel) {
    fields.add(":scheme", "http");
    fields.add(":path", head.target);
  }
  fields.add(":authority", head.authority.empty() ? "sandbox" : head.authority);
  if (head.content_length && has_body && !tunnel)
    fields.add("content-length", std::to_string(*head.content_length));
  CHECK_OK(fields.add_all(head.headers));
  auto stream = std::make_shared<H2Stream>(executor());
  nghttp2_data_provider provider{{.ptr = stream.get()}, H2Callbacks::next_data};
  auto list = fields.list();
  const std::int32_t id = nghttp2_submit_request(session_, nullptr, list.data(), list.size(),
                                                 open_body ? &provider : nullptr, nullptr);
  if (id < 0) return make_error(Errc::unavailable, std::string("HTTP/2 request: ") + nghttp2_strerror(id));
  stream->id = id;
  if (has_body && !tunnel) stream->out_left = head.content_length;
  stream->out_ended = stream->out_end = !open_body;
  if (stream->out_left == 0u) stream->out_end = true;
  streams_[id] = stream;
  flush_soon();
  return stream;
}

Status H2Session::respond(H2Stream& stream, const ReplyHead& head, bool has_body) {
  if (stream.closed || !alive_) return gone(stream);
  H2FieldList fields;
  fields.add(":status", std::to_string(head.status));
  if (head.content_length && head.status != 204 && head.status != 304)
    fields.add("content-length", std::to_string(*head.content_length));
  CHECK_OK(fields.add_all(head.headers));
  nghttp2_data_provider provider{{.ptr = &stream}, H2Callbacks::next_data};
  auto list = fields.list();
  if (!has_body) stream.out_ended = stream.out_end = true;
  const int error =
      nghttp2_submit_response(session_, stream.id, list.data(), list.size(), has_body ? &provider : nullptr);
  if (error != 0)
    return make_error(Errc::unavailable, std::string("HTTP/2 reply: ") + nghttp2_strerror(error));
  // A streamed reply's first bytes follow at once, most often: they leave with its head.
  if (has_body && stream.out.empty())
    flush_soon();
  else
    flush();
  return ok();
}

Task<Result<std::size_t>> H2Session::read_some(H2StreamPtr stream, std::span<char> into) {
  const auto self = shared_from_this();
  if (into.empty()) co_return std::size_t{0};
  while (stream->unread() == 0) {
    if (stream->in_end && !stream->released) co_return std::size_t{0};
    if (stream->closed || !alive_) co_return gone(*stream);
    co_await stream->changed.wait();
  }
  const std::size_t n = std::min(into.size(), stream->unread());
  std::memcpy(into.data(), stream->in.data() + stream->in_read, n);
  stream->in_read += n;
  if (stream->unread() == 0) {
    stream->in.clear();
    stream->in_read = 0;
  }
  pay(n);
  if (alive_ && !stream->closed) nghttp2_session_consume_stream(session_, stream->id, n);
  flush();
  co_return n;
}

void H2Session::resume(H2Stream& stream) {
  nghttp2_session_resume_data(session_, stream.id);
  flush();
}

Task<Status> H2Session::write(H2StreamPtr stream, std::string_view bytes) {
  const auto self = shared_from_this();
  if (stream->closed || !alive_) co_return gone(*stream);
  if (bytes.empty()) co_return ok();
  if (stream->out_end || !stream->out.empty() || stream->out_cut)
    co_return make_error(Errc::internal, "a write after the end of a body, or beside another write");
  if (stream->out_left) {
    if (bytes.size() > *stream->out_left) {
      stream->out_cut = true;
      co_return make_error(Errc::internal, "a body longer than its Content-Length");
    }
    *stream->out_left -= bytes.size();
    if (*stream->out_left == 0) stream->out_end = true;
  }
  H2Lent lent(*stream, bytes);
  resume(*stream);
  while (!stream->out.empty()) {
    if (stream->closed || !alive_) co_return gone(*stream);
    co_await stream->changed.wait();
  }
  co_return ok();
}

Task<Status> H2Session::finish(H2StreamPtr stream) {
  const auto self = shared_from_this();
  if (stream->out_ended) co_return ok();
  if (stream->closed || !alive_) co_return gone(*stream);
  if (stream->out_cut) co_return make_error(Errc::internal, "a body that was cut short cannot be finished");
  if (stream->out_left.value_or(0) > 0) {
    stream->out_cut = true;
    co_return make_error(Errc::internal, "a body shorter than its Content-Length");
  }
  stream->out_end = true;
  resume(*stream);
  // The end may have to wait for the socket; letting go before would reset what is still on its way.
  while (!stream->out_ended) {
    if (stream->closed || !alive_) co_return gone(*stream);
    co_await stream->changed.wait();
  }
  co_return ok();
}

void H2Session::release(H2Stream& stream, std::uint32_t code) {
  stream.on_gone = nullptr;
  if (std::exchange(stream.released, true)) return;
  const std::size_t dropped = stream.unread();
  stream.in = std::string();
  stream.in_read = 0;
  pay(dropped);
  const bool over = stream.in_end && stream.out_ended;
  if (!std::exchange(stream.closed, true) && !over && alive_)
    nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, stream.id, code);
  stream.changed.notify();
  flush();
}

}  // namespace atl::rpc
