#include "rpc/h2_callbacks.h"

#include "rpc/h2_fields.h"

namespace atl::rpc {
namespace {

constexpr std::size_t kFrameHead = 9;

H2Session& self(void* user) {
  return *static_cast<H2Session*>(user);
}
std::string_view view(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

}  // namespace

void H2Callbacks::set(nghttp2_session_callbacks* callbacks) {
  nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, begin_headers);
  nghttp2_session_callbacks_set_on_header_callback(callbacks, header);
  nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, frame_received);
  nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks, invalid_frame);
  nghttp2_session_callbacks_set_on_frame_not_send_callback(callbacks, frame_not_sent);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, data);
  nghttp2_session_callbacks_set_send_data_callback(callbacks, send_data);
  nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, stream_closed);
  nghttp2_session_callbacks_set_data_source_read_length_callback(callbacks, read_length);
}

int H2Callbacks::begin_headers(nghttp2_session*, const nghttp2_frame* frame, void* user) {
  H2Session& session = self(user);
  if (session.side_ == H2Session::Side::server && frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
    auto stream = std::make_shared<H2Stream>(session.executor());
    stream->id = frame->hd.stream_id;
    session.streams_[stream->id] = std::move(stream);
    if (session.open_heads_++ == 0) session.head_since_ = std::chrono::steady_clock::now();
  }
  return 0;
}

int H2Callbacks::header(nghttp2_session*, const nghttp2_frame* frame, const std::uint8_t* name,
                        std::size_t name_size, const std::uint8_t* value, std::size_t value_size,
                        std::uint8_t, void* user) {
  H2Session& session = self(user);
  const H2StreamPtr stream = session.find(frame->hd.stream_id);
  if (!stream || stream->head_complete) return 0;     // trailers are not used
  stream->head_bytes += name_size + value_size + 32;  // as SETTINGS_MAX_HEADER_LIST_SIZE counts
  if (stream->head_bytes > session.limits_.head_bytes_max) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
  if (session.side_ == H2Session::Side::server)
    take_request_field(stream->request, view(name, name_size), view(value, value_size));
  else
    take_reply_field(stream->reply, stream->status_text, view(name, name_size), view(value, value_size));
  return 0;
}

namespace {

// Frames that make work and no progress. WINDOW_UPDATE is not one of them: readers send many.
bool is_idle_frame(const nghttp2_frame& frame) {
  switch (frame.hd.type) {
    case NGHTTP2_PING:
    case NGHTTP2_SETTINGS:
      return (frame.hd.flags & NGHTTP2_FLAG_ACK) == 0;
    case NGHTTP2_PRIORITY:
      return true;
    case NGHTTP2_DATA:
      return frame.hd.length == 0 && (frame.hd.flags & NGHTTP2_FLAG_END_STREAM) == 0;
    default:
      return false;
  }
}

}  // namespace

int H2Callbacks::frame_received(nghttp2_session*, const nghttp2_frame* frame, void* user) {
  H2Session& session = self(user);
  if (frame->hd.type == NGHTTP2_SETTINGS) session.settled_ = true;
  if (is_idle_frame(*frame) && session.too_many_idle_frames()) return NGHTTP2_ERR_CALLBACK_FAILURE;
  if (frame->hd.type == NGHTTP2_PING && (frame->hd.flags & NGHTTP2_FLAG_ACK)) {
    ++session.pings_answered_;
    session.ended_.notify();
    return 0;
  }
  if (frame->hd.type == NGHTTP2_RST_STREAM)
    return session.too_many_resets() ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
  if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) return 0;
  const H2StreamPtr stream = session.find(frame->hd.stream_id);
  if (!stream) return 0;
  if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) stream->in_end = true;
  if (frame->hd.type == NGHTTP2_HEADERS && !stream->head_complete) head_received(session, stream);
  stream->changed.notify();
  return 0;
}

void H2Callbacks::head_received(H2Session& session, const H2StreamPtr& stream) {
  if (session.side_ == H2Session::Side::client) {
    const auto status = parse_decimal(stream->status_text);
    if (status && *status >= 100 && *status < 200) {
      stream->reply = ReplyHead{};
      return;
    }
    stream->reply.status = status ? static_cast<int>(*status) : 502;
  }
  stream->head_complete = true;
  if (session.side_ != H2Session::Side::server) return;
  session.head_ended();
  session.requests_.push_back(stream);
}

int H2Callbacks::invalid_frame(nghttp2_session*, const nghttp2_frame*, int, void* user) {
  return self(user).too_many_resets() ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

// A request that never left (cancelled before, or the peer takes no more): nghttp2 does not count it
// as a stream, so it closes none.
int H2Callbacks::frame_not_sent(nghttp2_session*, const nghttp2_frame* frame, int, void* user) {
  if (frame->hd.type == NGHTTP2_HEADERS && self(user).side_ == H2Session::Side::client)
    return stream_closed(nullptr, frame->hd.stream_id, NGHTTP2_REFUSED_STREAM, user);
  return 0;
}

int H2Callbacks::data(nghttp2_session*, std::uint8_t, std::int32_t id, const std::uint8_t* bytes,
                      std::size_t size, void* user) {
  H2Session& session = self(user);
  session.received(session.find(id).get(), id, view(bytes, size));
  return 0;
}

ssize_t H2Callbacks::next_data(nghttp2_session*, std::int32_t, std::uint8_t*, std::size_t length,
                               std::uint32_t* flags, nghttp2_data_source* source, void*) {
  const auto& stream = *static_cast<H2Stream*>(source->ptr);
  if (stream.out_cut) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;  // resets the stream
  if (stream.out.empty() && !stream.out_end) return NGHTTP2_ERR_DEFERRED;
  const std::size_t n = std::min(length, stream.out.size());
  *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
  if (n == stream.out.size() && stream.out_end) *flags |= NGHTTP2_DATA_FLAG_EOF;
  return static_cast<ssize_t>(n);
}

int H2Callbacks::send_data(nghttp2_session*, nghttp2_frame*, const std::uint8_t* head, std::size_t length,
                           nghttp2_data_source* source, void* user) {
  H2Session& session = self(user);
  auto& stream = *static_cast<H2Stream*>(source->ptr);
  session.out_.append(reinterpret_cast<const char*>(head), kFrameHead);
  session.out_.append(stream.out.substr(0, length));
  stream.out.remove_prefix(length);
  stream.out_since = std::chrono::steady_clock::now();
  if (stream.out.empty()) {
    stream.out_ended = stream.out_end;
    stream.changed.notify();
  }
  return 0;
}

int H2Callbacks::stream_closed(nghttp2_session*, std::int32_t id, std::uint32_t error, void* user) {
  H2Session& session = self(user);
  const auto found = session.streams_.find(id);
  if (found == session.streams_.end()) return 0;
  const H2StreamPtr stream = found->second;
  session.streams_.erase(found);
  if (session.side_ == H2Session::Side::server && !stream->head_complete) session.head_ended();
  session.last_use_ = std::chrono::steady_clock::now();
  session.close_stream(stream, error);
  return 0;
}

ssize_t H2Callbacks::read_length(nghttp2_session*, std::uint8_t, std::int32_t, std::int32_t session_window,
                                 std::int32_t stream_window, std::uint32_t frame_max, void*) {
  return std::min<std::int64_t>({session_window, stream_window, frame_max});
}

}  // namespace atl::rpc
