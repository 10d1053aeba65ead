#pragma once
#include "rpc/h2_session.h"

namespace atl::rpc {

// What nghttp2 calls. None of these calls back into it beyond what it allows, or runs user code.
struct H2Callbacks {
  static void set(nghttp2_session_callbacks* callbacks);
  static ssize_t next_data(nghttp2_session*, std::int32_t, std::uint8_t*, std::size_t length,
                           std::uint32_t* flags, nghttp2_data_source* source, void*);

 private:
  static int begin_headers(nghttp2_session*, const nghttp2_frame* frame, void* user);
  static int header(nghttp2_session*, const nghttp2_frame* frame, const std::uint8_t* name,
                    std::size_t name_size, const std::uint8_t* value, std::size_t value_size, std::uint8_t,
                    void* user);
  static int frame_received(nghttp2_session*, const nghttp2_frame* frame, void* user);
  static int invalid_frame(nghttp2_session*, const nghttp2_frame*, int, void* user);
  static int frame_not_sent(nghttp2_session*, const nghttp2_frame* frame, int, void* user);
  static int data(nghttp2_session*, std::uint8_t, std::int32_t id, const std::uint8_t* bytes,
                  std::size_t size, void* user);
  static int send_data(nghttp2_session*, nghttp2_frame*, const std::uint8_t* head, std::size_t length,
                       nghttp2_data_source* source, void* user);
  static int stream_closed(nghttp2_session*, std::int32_t id, std::uint32_t error, void* user);
  static ssize_t read_length(nghttp2_session*, std::uint8_t, std::int32_t, std::int32_t session_window,
                             std::int32_t stream_window, std::uint32_t frame_max, void*);
  static void head_received(H2Session& session, const H2StreamPtr& stream);
};

}  // namespace atl::rpc
