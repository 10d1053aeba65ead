#pragma once
#include "rpc/http1.h"
#include "rpc/message.h"

namespace atl::rpc {

// A connected socket as a byte stream. Writes may be watched by a deadline of no progress.
class SocketStream final : public ByteStream {
 public:
  explicit SocketStream(Socket socket) : socket_(std::move(socket)) {}
  Task<Result<std::size_t>> read_some(std::span<char> into) override;
  Task<Status> write(std::string_view bytes) override;
  Task<Status> write_parts(std::string_view a, std::string_view b, std::string_view c);
  Task<Status> finish() override;
  void close() override;
  Socket& socket() { return socket_; }

 private:
  Socket socket_;
};

// Bytes of a stream with those that were read too many kept for the next reader.
class BufferedReader {
 public:
  explicit BufferedReader(ByteSource& source) : source_(source) {}
  // The buffered bytes; they move at the next call that fills.
  std::string_view buffered() const { return std::string_view(buffer_).substr(used_); }
  void consume(std::size_t n);
  // Reads at least one more byte into the buffer; false at the end.
  Task<Result<bool>> fill();
  // Buffered bytes first, else straight from the source into the caller's memory.
  Task<Result<std::size_t>> read_some(std::span<char> into);
  // For a monitor that found early bytes of the next request.
  void push(std::string_view bytes) { buffer_.append(bytes); }

 private:
  ByteSource& source_;
  std::string buffer_;
  std::size_t used_ = 0;
};

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

// Decodes a body by its framing. 0 = the end.
class BodyReader {
 public:
  BodyReader(BufferedReader& reader, Framing framing, std::uint64_t length)
      : reader_(reader), framing_(framing), left_(length), ended_(framing == Framing::none || (framing == Framing::length && length == 0)) {}
  Task<Result<std::size_t>> read_some(std::span<char> into);
  bool ended() const { return ended_; }

 private:
  Task<Status> next_chunk();
  Task<Result<std::string>> line(std::size_t bytes_max);

  BufferedReader& reader_;
  Framing framing_;
  std::uint64_t left_;        // of the body, or of the present chunk
  bool first_chunk_ = true;
  bool ended_;
};

std::string chunk_prefix(std::size_t size);

}  // namespace atl::rpc
