#include "rpc/h2_session.h"

#include <sys/socket.h>

#include <charconv>

namespace atl::rpc {
namespace {

constexpr std::size_t kReadBuffer = 256 * 1024;
constexpr std::size_t kOutBuffer = 512 * 1024;   // framed bytes kept while the socket is full
constexpr int kReadsPerTurn = 4;                 // then other work of the loop gets its turn

Error gone() { return make_error(Errc::unavailable, "the HTTP/2 stream was closed by the peer"); }

bool field_is_safe(std::string_view name, std::string_view value) {
  return nghttp2_check_header_name(reinterpret_cast<const std::uint8_t*>(name.data()), name.size()) &&
         nghttp2_check_header_value(reinterpret_cast<const std::uint8_t*>(value.data()), value.size());
}

// Fields for nghttp2, which copies them; names are lowered as HTTP/2 wants. Fields that belong to
// one HTTP/1.1 connection are left out.
class FieldList {
 public:
  void add(std::string name, std::string value) {
    for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    fields_.emplace_back(std::move(name), std::move(value));
  }
  bool add_all(const Headers& headers) {
    static constexpr std::string_view kHop[] = {"connection", "keep-alive", "proxy-connection", "transfer-encoding",
                                                "upgrade", "content-length", "te", "host"};
    for (const auto& [name, value] : headers.all()) {
      const bool hop = std::any_of(std::begin(kHop), std::end(kHop), [&](auto h) { return iequals(h, name); });
      if (hop) continue;
      add(name, value);
      if (!field_is_safe(fields_.back().first, fields_.back().second)) return false;
    }
    return true;
  }
  std::vector<nghttp2_nv> list() {
    std::vector<nghttp2_nv> out;
    for (auto& [name, value] : fields_) {
      out.push_back({reinterpret_cast<std::uint8_t*>(name.data()), reinterpret_cast<std::uint8_t*>(value.data()),
                     name.size(), value.size(), NGHTTP2_NV_FLAG_NONE});
    }
    return out;
  }

 private:
  std::deque<std::pair<std::string, std::string>> fields_;
};

std::optional<std::uint64_t> parse_length(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

void take_request_field(RequestHead& head, std::string_view name, std::string_view value) {
  if (name == ":method") head.method = value;
  else if (name == ":path") head.target = value;
  else if (name == ":authority") head.authority = value;
  else if (name == "host" && head.authority.empty()) head.authority = value;
  else if (name == "content-length") head.content_length = parse_length(value);
  else if (!name.starts_with(':')) head.headers.add(name, value);
}

void take_reply_field(H2Stream& stream, std::string_view name, std::string_view value) {
  if (name == ":status") stream.status_text = value;
  else if (name == "content-length") stream.reply.content_length = parse_length(value);
  else if (!name.starts_with(':')) stream.reply.headers.add(name, value);
}

ssize_t next_data(nghttp2_session*, std::int32_t, std::uint8_t*, std::size_t length, std::uint32_t* flags,
                  nghttp2_data_source* source, void*) {
  const auto& stream = *static_cast<H2Stream*>(source->ptr);
  if (stream.out.empty() && !stream.out_end) return NGHTTP2_ERR_DEFERRED;
  const std::size_t n = std::min(length, stream.out.size());
  *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
  if (n == stream.out.size() && stream.out_end) *flags |= NGHTTP2_DATA_FLAG_EOF;
  return static_cast<ssize_t>(n);
}

}  // namespace

struct H2Session::Callbacks {
  static H2Session& self(void* user) { return *static_cast<H2Session*>(user); }
  static std::string_view view(const std::uint8_t* data, std::size_t size) {
    return {reinterpret_cast<const char*>(data), size};
  }

  static int begin_headers(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    H2Session& session = self(user);
    if (session.side_ == Side::server && frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
      auto stream = std::make_shared<H2Stream>(session.executor());
      stream->id = frame->hd.stream_id;
      session.streams_[stream->id] = std::move(stream);
    }
    return 0;
  }

  static int header(nghttp2_session*, const nghttp2_frame* frame, const std::uint8_t* name, std::size_t name_size,
                    const std::uint8_t* value, std::size_t value_size, std::uint8_t, void* user) {
    H2Session& session = self(user);
    H2Stream* stream = session.find(frame->hd.stream_id);
    if (!stream || stream->head_complete) return 0;  // trailers are not used
    stream->head_bytes += name_size + value_size + 32;
    if (stream->head_bytes > session.limits_.head_bytes_max) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    if (session.side_ == Side::server) take_request_field(stream->request, view(name, name_size), view(value, value_size));
    else take_reply_field(*stream, view(name, name_size), view(value, value_size));
    return 0;
  }

  static int frame_received(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    H2Session& session = self(user);
    if (frame->hd.type == NGHTTP2_PING && (frame->hd.flags & NGHTTP2_FLAG_ACK)) {
      ++session.pings_answered_;
      session.ended_.notify();
      return 0;
    }
    if (frame->hd.type == NGHTTP2_RST_STREAM) return session.side_ == Side::server ? count_reset(session) : 0;
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) return 0;
    const auto found = session.streams_.find(frame->hd.stream_id);
    if (found == session.streams_.end()) return 0;
    const H2StreamPtr stream = found->second;
    if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) stream->in_end = true;
    if (frame->hd.type == NGHTTP2_HEADERS && !stream->head_complete) head_received(session, stream);
    stream->changed.notify();
    return 0;
  }

  static void head_received(H2Session& session, const H2StreamPtr& stream) {
    if (session.side_ == Side::client) {
      const auto status = parse_length(stream->status_text);
      if (status && *status >= 100 && *status < 200) {
        stream->reply = ReplyHead{};
        return;
      }
      stream->reply.status = status ? static_cast<int>(*status) : 502;
    }
    stream->head_complete = true;
    if (session.side_ == Side::server) session.on_request_(stream);
  }

  // A peer that opens streams and resets them costs work without ever holding many open.
  static int count_reset(H2Session& session) {
    const auto now = std::chrono::steady_clock::now();
    if (now - session.resets_since_ > std::chrono::seconds(1)) {
      session.resets_since_ = now;
      session.resets_ = 0;
    }
    return ++session.resets_ > session.limits_.resets_per_second_max ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
  }

  static int data(nghttp2_session* raw, std::uint8_t, std::int32_t id, const std::uint8_t* bytes, std::size_t size,
                  void* user) {
    H2Stream* stream = self(user).find(id);
    if (!stream) {
      nghttp2_session_consume_connection(raw, size);
      return 0;
    }
    stream->in.append(reinterpret_cast<const char*>(bytes), size);
    stream->changed.notify();
    return 0;
  }

  static int send_data(nghttp2_session*, nghttp2_frame*, const std::uint8_t* head, std::size_t length,
                       nghttp2_data_source* source, void* user) {
    H2Session& session = self(user);
    auto& stream = *static_cast<H2Stream*>(source->ptr);
    session.out_.append(reinterpret_cast<const char*>(head), 9);
    session.out_.append(stream.out.substr(0, length));
    stream.out.remove_prefix(length);
    if (stream.out.empty()) {
      stream.out_ended = stream.out_end;
      stream.changed.notify();
    }
    return 0;
  }

  static int stream_closed(nghttp2_session*, std::int32_t id, std::uint32_t, void* user) {
    H2Session& session = self(user);
    const auto found = session.streams_.find(id);
    if (found == session.streams_.end()) return 0;
    const H2StreamPtr stream = found->second;
    session.streams_.erase(found);
    session.close_stream(stream);
    return 0;
  }

  static ssize_t read_length(nghttp2_session*, std::uint8_t, std::int32_t, std::int32_t session_window,
                             std::int32_t stream_window, std::uint32_t frame_max, void*) {
    return std::min<std::int64_t>({session_window, stream_window, frame_max});
  }
};

H2Session::H2Session(Socket socket, Http2Limits limits, Side side)
    : socket_(std::move(socket)), limits_(limits), side_(side), read_buffer_(kReadBuffer), ended_(socket_.get_executor()) {
  nghttp2_session_callbacks* callbacks = nullptr;
  nghttp2_session_callbacks_new(&callbacks);
  nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, Callbacks::begin_headers);
  nghttp2_session_callbacks_set_on_header_callback(callbacks, Callbacks::header);
  nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, Callbacks::frame_received);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, Callbacks::data);
  nghttp2_session_callbacks_set_send_data_callback(callbacks, Callbacks::send_data);
  nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, Callbacks::stream_closed);
  nghttp2_session_callbacks_set_data_source_read_length_callback(callbacks, Callbacks::read_length);
  nghttp2_option* option = nullptr;
  nghttp2_option_new(&option);
  nghttp2_option_set_no_auto_window_update(option, 1);
  nghttp2_option_set_peer_max_concurrent_streams(option, limits_.streams_max);
  const auto make = side == Side::server ? nghttp2_session_server_new2 : nghttp2_session_client_new2;
  make(&session_, callbacks, this, option);
  nghttp2_option_del(option);
  nghttp2_session_callbacks_del(callbacks);
}

H2Session::~H2Session() { nghttp2_session_del(session_); }

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
  boost::system::error_code ignored;
  socket_.native_non_blocking(true, ignored);
  flush();
  if (alive_) wait_readable();
}

H2Stream* H2Session::find(std::int32_t id) {
  const auto found = streams_.find(id);
  return found == streams_.end() ? nullptr : found->second.get();
}

void H2Session::wait_readable() {
  socket_.async_wait(Socket::wait_read, [self = shared_from_this()](boost::system::error_code error) {
    if (!self->alive_) return;
    if (error) self->end();
    else self->on_readable();
  });
}

void H2Session::on_readable() {
  for (int turn = 0; turn < kReadsPerTurn; ++turn) {
    const ssize_t n = ::recv(socket_.native_handle(), read_buffer_.data(), read_buffer_.size(), 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) break;
    if (n <= 0) return end();
    in_nghttp2_ = true;
    const ssize_t used =
        nghttp2_session_mem_recv(session_, reinterpret_cast<const std::uint8_t*>(read_buffer_.data()), n);
    in_nghttp2_ = false;
    if (used < 0) {
      flush();  // its GOAWAY, where it made one
      return end();
    }
    flush();
    if (!alive_) return;
    if (static_cast<std::size_t>(n) < read_buffer_.size()) break;
  }
  wait_readable();
}

// Frames what may be sent now, up to the bound. False: the session is broken.
bool H2Session::collect() {
  in_nghttp2_ = true;
  bool good = true;
  while (out_.size() - out_sent_ < kOutBuffer) {
    const std::uint8_t* data = nullptr;
    const ssize_t n = nghttp2_session_mem_send(session_, &data);
    if (n <= 0) {
      good = n == 0;
      break;
    }
    out_.append(reinterpret_cast<const char*>(data), n);
  }
  in_nghttp2_ = false;
  return good;
}

void H2Session::flush() {
  if (!alive_ || in_nghttp2_ || waiting_writable_) return;
  for (;;) {
    const bool good = collect();
    if (out_.size() == out_sent_) {
      if (!good || (!nghttp2_session_want_read(session_) && !nghttp2_session_want_write(session_))) end();
      return;
    }
    const ssize_t n = ::send(socket_.native_handle(), out_.data() + out_sent_, out_.size() - out_sent_, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno != EAGAIN) return end();
    if (n > 0) out_sent_ += n;
    if (out_sent_ == out_.size()) {
      out_.clear();
      out_sent_ = 0;
      continue;
    }
    waiting_writable_ = true;
    socket_.async_wait(Socket::wait_write, [self = shared_from_this()](boost::system::error_code error) {
      self->waiting_writable_ = false;
      if (!self->alive_) return;
      if (error) return self->end();
      self->out_.erase(0, std::exchange(self->out_sent_, 0));
      self->flush();
    });
    return;
  }
}

void H2Session::close_stream(const H2StreamPtr& stream) {
  stream->closed = true;
  if (stream->on_gone && !stream->out_ended) {
    // Later, since callbacks may start other calls on this session.
    asio::post(executor(), [callback = std::exchange(stream->on_gone, nullptr)] { callback(); });
  }
  stream->changed.notify();
}

void H2Session::end() {
  if (!std::exchange(alive_, false)) return;
  auto streams = std::exchange(streams_, {});
  for (auto& [id, stream] : streams) close_stream(stream);
  boost::system::error_code ignored;
  socket_.close(ignored);
  ended_.notify();
  if (on_end_) asio::post(executor(), std::exchange(on_end_, nullptr));
}

void H2Session::close() {
  if (!alive_) return;
  if (!in_nghttp2_) {
    nghttp2_session_terminate_session(session_, NGHTTP2_NO_ERROR);
    flush();
  }
  end();
}

Task<Status> H2Session::ping(Millis deadline) {
  const auto self = shared_from_this();
  const auto until = std::chrono::steady_clock::now() + deadline;
  const std::uint64_t before = pings_answered_;
  nghttp2_submit_ping(session_, NGHTTP2_FLAG_NONE, nullptr);
  flush();
  while (alive_ && pings_answered_ == before) {
    const bool notified = co_await ended_.wait_until(until);
    if (!notified) co_return make_error(Errc::deadline, "no answer to an HTTP/2 ping");
  }
  if (!alive_) co_return gone();
  co_return ok();
}

H2StreamPtr H2Session::open(const RequestHead& head, bool has_body) {
  if (!alive_) return nullptr;
  FieldList fields;
  const bool tunnel = head.method == "CONNECT";
  fields.add(":method", head.method);
  if (!tunnel) {
    fields.add(":scheme", "http");
    fields.add(":path", head.target);
  }
  fields.add(":authority", head.authority.empty() ? "sandbox" : head.authority);
  if (head.content_length && has_body) fields.add("content-length", std::to_string(*head.content_length));
  if (!fields.add_all(head.headers)) return nullptr;
  auto stream = std::make_shared<H2Stream>(executor());
  nghttp2_data_provider provider{{.ptr = stream.get()}, next_data};
  auto list = fields.list();
  const bool open_body = has_body || tunnel;
  const std::int32_t id =
      nghttp2_submit_request(session_, nullptr, list.data(), list.size(), open_body ? &provider : nullptr, nullptr);
  if (id < 0) return nullptr;
  stream->id = id;
  stream->out_ended = stream->out_end = !open_body;
  streams_[id] = stream;
  flush();
  return stream;
}

Status H2Session::respond(H2Stream& stream, const ReplyHead& head, bool has_body) {
  if (stream.closed || !alive_) return gone();
  FieldList fields;
  fields.add(":status", std::to_string(head.status));
  if (head.content_length && head.status != 204 && head.status != 304)
    fields.add("content-length", std::to_string(*head.content_length));
  if (!fields.add_all(head.headers)) return make_error(Errc::internal, "a reply's header field has a forbidden byte");
  nghttp2_data_provider provider{{.ptr = &stream}, next_data};
  auto list = fields.list();
  if (!has_body) stream.out_ended = stream.out_end = true;
  if (nghttp2_submit_response(session_, stream.id, list.data(), list.size(), has_body ? &provider : nullptr) != 0)
    return gone();
  flush();
  return ok();
}

Task<Result<std::size_t>> H2Session::read_some(H2StreamPtr stream, std::span<char> into) {
  const auto self = shared_from_this();
  while (stream->unread() == 0) {
    if (stream->in_end) co_return std::size_t{0};
    if (stream->closed || !alive_) co_return gone();
    co_await stream->changed.wait();
  }
  const std::size_t n = std::min(into.size(), stream->unread());
  std::copy_n(stream->in.data() + stream->in_read, n, into.data());
  stream->in_read += n;
  if (stream->unread() == 0) {
    stream->in.clear();
    stream->in_read = 0;
  }
  if (alive_) {
    if (stream->closed) nghttp2_session_consume_connection(session_, n);
    else nghttp2_session_consume(session_, stream->id, n);
    flush();
  }
  co_return n;
}

void H2Session::resume(H2Stream& stream) {
  nghttp2_session_resume_data(session_, stream.id);
  flush();
}

Task<Status> H2Session::write(H2StreamPtr stream, std::string_view bytes) {
  const auto self = shared_from_this();
  if (stream->closed || !alive_) co_return gone();
  if (stream->out_end) co_return make_error(Errc::internal, "write after the end of a body");
  if (bytes.empty()) co_return ok();
  // However this ends (a cancelled wait included), the stream no longer points to the bytes.
  struct Lend {
    H2Stream& stream;
    ~Lend() { stream.out = {}; }
  } lend{*stream};
  stream->out = bytes;
  resume(*stream);
  while (!stream->out.empty()) {
    if (stream->closed || !alive_) co_return gone();
    co_await stream->changed.wait();
  }
  co_return ok();
}

Task<Status> H2Session::finish(H2StreamPtr stream) {
  if (stream->out_end) co_return ok();
  if (stream->closed || !alive_) co_return gone();
  const auto self = shared_from_this();
  stream->out_end = true;
  resume(*stream);
  // The end may have to wait for the socket; letting go before would reset what is still on its way.
  while (!stream->out_ended) {
    if (stream->closed || !alive_) co_return gone();
    co_await stream->changed.wait();
  }
  co_return ok();
}

void H2Session::release(H2Stream& stream, std::uint32_t code) {
  stream.on_gone = nullptr;
  stream.out = {};
  if (!alive_) return;
  // What was received and not read still counts against the connection's window.
  if (stream.unread() > 0) nghttp2_session_consume_connection(session_, stream.unread());
  stream.in.clear();
  stream.in_read = 0;
  const bool over = stream.in_end && stream.out_ended;
  if (!stream.closed && !over) nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, stream.id, code);
  flush();
}

}  // namespace atl::rpc
