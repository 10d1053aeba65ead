#include "rpc/h1_wire.h"

#include <sys/socket.h>

#include <boost/asio/write.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <cstring>

namespace atl::rpc {
namespace {

namespace beast_http = boost::beast::http;

constexpr std::size_t kFill = 64 * 1024;
constexpr std::size_t kTrailerBytesMax = 8 * 1024;
constexpr std::size_t kChunkLineMax = 1024;

Error answer(int status, std::string message) { return Error{Errc::invalid, std::move(message), status}; }

Error io_error(const boost::system::error_code& code) {
  return make_error(Errc::unavailable, "connection lost: " + code.message());
}

bool token_in_list(std::string_view list, std::string_view token) {
  while (!list.empty()) {
    const auto comma = list.find(',');
    auto item = list.substr(0, comma);
    while (!item.empty() && (item.front() == ' ' || item.front() == '\t')) item.remove_prefix(1);
    while (!item.empty() && (item.back() == ' ' || item.back() == '\t')) item.remove_suffix(1);
    if (iequals(item, token)) return true;
    list.remove_prefix(comma == std::string_view::npos ? list.size() : comma + 1);
  }
  return false;
}

bool is_hop_field(std::string_view name) {
  static constexpr std::string_view kHop[] = {"host", "connection", "keep-alive", "transfer-encoding", "te",
                                              "content-length", "upgrade", "expect", "trailer"};
  if (name.size() > 6 && iequals(name.substr(0, 6), "proxy-")) return true;
  return std::any_of(std::begin(kHop), std::end(kHop), [&](auto hop) { return iequals(hop, name); });
}

// What Beast accepts though two parsers may read it differently: folded lines, and fields of which
// one of two values would have to be chosen.
Status check_unambiguous(std::string_view text) {
  for (auto at = text.find("\r\n"); at != std::string_view::npos && at + 2 < text.size(); at = text.find("\r\n", at + 2))
    if (text[at + 2] == ' ' || text[at + 2] == '\t') return answer(400, "folded header lines are refused");
  if (text.find('\0') != std::string_view::npos) return answer(400, "NUL in a header");
  return ok();
}

template <class Fields>
Result<Framing> framing_of(const Fields& fields, std::optional<std::uint64_t>& length) {
  const auto encodings = fields.count(beast_http::field::transfer_encoding);
  const auto lengths = fields.count(beast_http::field::content_length);
  if (encodings > 0) {
    if (encodings > 1 || lengths > 0) return answer(400, "both Transfer-Encoding and Content-Length, or two of one");
    const auto value = fields[beast_http::field::transfer_encoding];
    if (!iequals({value.data(), value.size()}, "chunked")) return answer(400, "the only transfer encoding here is chunked");
    return Framing::chunked;
  }
  if (lengths == 0) return Framing::none;
  if (lengths > 1) return answer(400, "more than one Content-Length");
  const auto value = fields[beast_http::field::content_length];
  if (value.empty() || value.size() > 18 || value.find_first_not_of("0123456789") != value.npos)
    return answer(400, "Content-Length is no number");
  length = std::strtoull(std::string(value).c_str(), nullptr, 10);
  return Framing::length;
}

template <class Fields>
void take_fields(const Fields& fields, Headers& into) {
  for (const auto& field : fields) {
    const std::string_view name(field.name_string().data(), field.name_string().size());
    if (!is_hop_field(name)) into.add(name, {field.value().data(), field.value().size()});
  }
}

template <class Fields>
std::string_view field(const Fields& fields, beast_http::field which) {
  const auto value = fields[which];
  return {value.data(), value.size()};
}

template <class Parser>
Status feed(Parser& parser, std::string_view text) {
  boost::system::error_code code;
  parser.skip(true);  // the head alone; bodies are decoded here
  parser.header_limit(static_cast<std::uint32_t>(std::min<std::size_t>(text.size() + 1, 1u << 20)));
  parser.body_limit(boost::none);
  parser.put(asio::buffer(text.data(), text.size()), code);
  if (code && code != beast_http::error::need_more) return answer(400, "malformed HTTP head: " + code.message());
  if (!parser.is_header_done()) return answer(400, "malformed HTTP head");
  return ok();
}

bool safe(std::string_view text) { return text.find_first_of(std::string_view("\r\n\0", 3)) == std::string_view::npos; }

Status append_fields(std::string& text, const Headers& headers) {
  for (const auto& [name, value] : headers.all()) {
    if (!safe(name) || !safe(value) || name.empty())
      return make_error(Errc::internal, "a header field with a line break or NUL was not sent");
    if (is_hop_field(name)) continue;
    text.append(name).append(": ").append(value).append("\r\n");
  }
  return ok();
}

}  // namespace

Task<Result<std::size_t>> SocketStream::read_some(std::span<char> into) {
  const auto [code, n] = co_await socket_.async_read_some(asio::buffer(into.data(), into.size()),
                                                          asio::as_tuple(asio::use_awaitable));
  if (code == asio::error::eof) co_return std::size_t{0};
  if (code) co_return io_error(code);
  co_return n;
}

Task<Status> SocketStream::write(std::string_view bytes) { return write_parts(bytes, {}, {}); }

Task<Status> SocketStream::write_parts(std::string_view a, std::string_view b, std::string_view c) {
  const std::array<asio::const_buffer, 3> parts{asio::buffer(a.data(), a.size()), asio::buffer(b.data(), b.size()),
                                                asio::buffer(c.data(), c.size())};
  const auto [code, n] = co_await asio::async_write(socket_, parts, asio::as_tuple(asio::use_awaitable));
  if (code) co_return io_error(code);
  co_return ok();
}

Task<Status> SocketStream::finish() {
  boost::system::error_code code;
  socket_.shutdown(Socket::shutdown_send, code);
  co_return ok();
}

void SocketStream::close() {
  boost::system::error_code code;
  socket_.close(code);
}

void BufferedReader::consume(std::size_t n) {
  used_ += n;
  if (used_ == buffer_.size()) {
    buffer_.clear();
    used_ = 0;
  }
}

Task<Result<bool>> BufferedReader::fill() {
  if (used_ > 0) buffer_.erase(0, std::exchange(used_, 0));
  const std::size_t had = buffer_.size();
  buffer_.resize(had + kFill);
  auto got = co_await source_.read_some(std::span(buffer_).subspan(had));
  buffer_.resize(had + (got.ok() ? *got : 0));
  if (!got.ok()) co_return std::move(got).error();
  co_return *got > 0;
}

Task<Result<std::size_t>> BufferedReader::read_some(std::span<char> into) {
  const auto ready = buffered();
  if (ready.empty()) co_return co_await source_.read_some(into);
  const std::size_t n = std::min(ready.size(), into.size());
  std::memcpy(into.data(), ready.data(), n);
  consume(n);
  co_return n;
}

Task<Result<std::size_t>> await_head(BufferedReader& reader, std::size_t bytes_max) {
  std::size_t searched = 0;
  for (;;) {
    // Empty lines before a request are skipped (RFC 9112, 2.2).
    while (searched == 0 && reader.buffered().starts_with("\r\n")) reader.consume(2);
    const auto text = reader.buffered();
    const auto end = text.find("\r\n\r\n", searched > 3 ? searched - 3 : 0);
    if (end != std::string_view::npos && end + 4 <= bytes_max) co_return end + 4;
    if (text.size() > bytes_max)
      co_return answer(431, "the request's head is larger than " + std::to_string(bytes_max) + " bytes");
    searched = text.size();
    CO_TRY(const bool more, co_await reader.fill());
    if (!more) {
      if (reader.buffered().empty()) co_return std::size_t{0};
      co_return make_error(Errc::unavailable, "the connection ended within a head");
    }
  }
}

Result<ParsedRequest> parse_request_head(std::string_view text, const Http1Limits& limits) {
  CHECK_OK(check_unambiguous(text));
  beast_http::request_parser<beast_http::empty_body> parser;
  CHECK_OK(feed(parser, text));
  const auto& message = parser.get();
  ParsedRequest out;
  out.head.method = std::string(message.method_string());
  out.head.target = std::string(message.target());
  if (out.head.target.size() > limits.target_bytes_max)
    return answer(414, "the target is longer than " + std::to_string(limits.target_bytes_max) + " bytes");
  if (message.version() != 10 && message.version() != 11) return answer(505, "HTTP/1.0 and HTTP/1.1 are spoken here");
  out.http_1_0 = message.version() == 10;
  TRY(out.framing, framing_of(message, out.head.content_length));
  if (out.http_1_0 && out.framing == Framing::chunked) return answer(400, "HTTP/1.0 has no transfer encodings");
  const auto hosts = message.count(beast_http::field::host);
  if (hosts > 1 || (hosts == 0 && !out.http_1_0)) return answer(400, "exactly one Host field is needed");
  out.head.authority = field(message, beast_http::field::host);
  const auto connection = field(message, beast_http::field::connection);
  out.keep_alive = !out.http_1_0 && !token_in_list(connection, "close");
  if (token_in_list(connection, "upgrade")) {
    out.head.upgrade = field(message, beast_http::field::upgrade);
    for (char& c : out.head.upgrade) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  out.expects_continue = iequals(field(message, beast_http::field::expect), "100-continue");
  if (out.head.method == "CONNECT") {
    out.head.authority = std::exchange(out.head.target, "");
  } else if (!out.head.target.starts_with('/')) {
    // The absolute form that proxies send: only its path counts, and Host decides as ever.
    const auto scheme = out.head.target.find("://");
    const auto path = scheme == std::string::npos ? scheme : out.head.target.find('/', scheme + 3);
    if (out.head.target != "*" && path == std::string::npos) return answer(400, "the target must be a path");
    if (out.head.target != "*") out.head.target.erase(0, path);
  }
  take_fields(message, out.head.headers);
  return out;
}

Result<ParsedReply> parse_reply_head(std::string_view text, std::string_view request_method) {
  CHECK_OK(check_unambiguous(text));
  beast_http::response_parser<beast_http::empty_body> parser;
  CHECK_OK(feed(parser, text));
  const auto& message = parser.get();
  ParsedReply out;
  out.head.status = static_cast<int>(message.result_int());
  TRY(out.framing, framing_of(message, out.head.content_length));
  out.keep_alive = message.version() == 11 && !token_in_list(field(message, beast_http::field::connection), "close");
  const bool bodyless = request_method == "HEAD" || out.head.status == 204 || out.head.status == 304 || out.head.status < 200;
  if (bodyless) out.framing = Framing::none;
  else if (out.framing == Framing::none) out.framing = Framing::until_close;
  if (out.framing == Framing::until_close) out.keep_alive = false;
  take_fields(message, out.head.headers);
  if (out.head.status == 101) out.head.headers.add("upgrade", field(message, beast_http::field::upgrade));
  return out;
}

Result<std::string> request_text(const RequestHead& head, Wire wire) {
  const bool tunnel = head.method == "CONNECT";
  std::string text = head.method + " " + (tunnel ? head.authority : head.target) + " HTTP/1.1\r\nHost: " +
                     (head.authority.empty() ? "localhost" : head.authority) + "\r\n";
  if (!safe(head.method) || !safe(head.target) || !safe(head.authority) || !safe(head.upgrade) ||
      head.target.find(' ') != std::string::npos)
    return make_error(Errc::invalid, "a request line with a line break, space or NUL was not sent");
  CHECK_OK(append_fields(text, head.headers));
  if (!head.upgrade.empty()) text += "Connection: Upgrade\r\nUpgrade: " + head.upgrade + "\r\n";
  if (wire.chunked) text += "Transfer-Encoding: chunked\r\n";
  else if (head.content_length) text += "Content-Length: " + std::to_string(*head.content_length) + "\r\n";
  if (wire.close) text += "Connection: close\r\n";
  return text + "\r\n";
}

Result<std::string> reply_text(const ReplyHead& head, Wire wire, bool no_body_status) {
  const auto reason = beast_http::obsolete_reason(beast_http::int_to_status(head.status));
  std::string text = fmt::format("HTTP/1.1 {} {}\r\n", head.status, std::string_view(reason.data(), reason.size()));
  CHECK_OK(append_fields(text, head.headers));
  if (head.status == 101) {
    text += "Connection: Upgrade\r\n";
    const auto upgrade = head.headers.get_or("upgrade", "");
    if (!safe(upgrade)) return make_error(Errc::internal, "a header field with a line break was not sent");
    if (!upgrade.empty()) text.append("Upgrade: ").append(upgrade).append("\r\n");
  }
  if (wire.chunked) text += "Transfer-Encoding: chunked\r\n";
  else if (head.content_length && !no_body_status) text += "Content-Length: " + std::to_string(*head.content_length) + "\r\n";
  if (wire.close) text += "Connection: close\r\n";
  return text + "\r\n";
}

std::string chunk_prefix(std::size_t size) { return fmt::format("{:x}\r\n", size); }

Task<Result<std::string>> BodyReader::line(std::size_t bytes_max) {
  for (;;) {
    const auto text = reader_.buffered();
    const auto end = text.find('\n');
    if (end != std::string_view::npos && end <= bytes_max) {
      if (end == 0 || text[end - 1] != '\r') co_return answer(400, "a chunk's line ends without CR LF");
      std::string found(text.substr(0, end - 1));
      reader_.consume(end + 1);
      co_return found;
    }
    if (text.size() > bytes_max) co_return answer(400, "a chunk's line is too long");
    CO_TRY(const bool more, co_await reader_.fill());
    if (!more) co_return make_error(Errc::unavailable, "the connection ended within a chunked body");
  }
}

Task<Status> BodyReader::next_chunk() {
  if (!std::exchange(first_chunk_, false)) {
    CO_TRY(const std::string after, co_await line(2));
    if (!after.empty()) co_return answer(400, "a chunk is longer than it said");
  }
  CO_TRY(const std::string head, co_await line(kChunkLineMax));
  const std::string_view digits = std::string_view(head).substr(0, head.find_first_of("; \t"));
  if (digits.empty() || digits.size() > 15 || digits.find_first_not_of("0123456789abcdefABCDEF") != digits.npos)
    co_return answer(400, "a chunk's size is no hexadecimal number");
  left_ = std::strtoull(std::string(digits).c_str(), nullptr, 16);
  if (left_ > 0) co_return ok();
  for (std::size_t bytes = 0;;) {
    CO_TRY(const std::string trailer, co_await line(kTrailerBytesMax));
    bytes += trailer.size();
    if (bytes > kTrailerBytesMax) co_return answer(400, "the trailers are larger than 8 KiB");
    if (trailer.empty()) break;
  }
  ended_ = true;
  co_return ok();
}

Task<Result<std::size_t>> BodyReader::read_some(std::span<char> into) {
  if (ended_ || into.empty()) co_return std::size_t{0};
  if (framing_ == Framing::chunked && left_ == 0) {
    CO_CHECK_OK(co_await next_chunk());
    if (ended_) co_return std::size_t{0};
  }
  const bool bounded = framing_ != Framing::until_close;
  if (bounded && into.size() > left_) into = into.first(left_);
  CO_TRY(const std::size_t n, co_await reader_.read_some(into));
  if (n == 0) {
    if (bounded) co_return make_error(Errc::unavailable, "the connection ended within a body");
    ended_ = true;
    co_return n;
  }
  if (bounded) left_ -= n;
  if (framing_ == Framing::length && left_ == 0) ended_ = true;
  co_return n;
}

}  // namespace atl::rpc
