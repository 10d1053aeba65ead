#pragma once
#include "rpc/h1_stream.h"

namespace atl::rpc {

enum class Framing : std::uint8_t { none, length, chunked, until_close };

struct ParsedRequest {
  RequestHead head;
  Framing framing = Framing::none;
  bool keep_alive = false;
  bool http_1_0 = false;
  bool expects_continue = false;
};
struct ParsedReply {
  ReplyHead head;
  Framing framing = Framing::none;
  bool keep_alive = false;
};

// `text` is a whole head, its empty line included. Errors carry the status to answer in os_error
// (400, 414, 431, 505).
Result<ParsedRequest> parse_request_head(std::string_view text, const Http1Limits& limits);
Result<ParsedReply> parse_reply_head(std::string_view text, std::string_view request_method);

// Waits for a whole head in the buffer and gives its length; 0 = the stream ended before its first byte.
Task<Result<std::size_t>> await_head(BufferedReader& reader, std::size_t bytes_max);

// Head as text. Errc::internal when a field has CR, LF or NUL in it.
struct Wire {
  bool chunked = false;
  bool close = false;
};
Result<std::string> request_text(const RequestHead& head, Wire wire);
Result<std::string> reply_text(const ReplyHead& head, Wire wire, bool no_body_status);

}  // namespace atl::rpc
