#include "rpc/h1_head.h"

#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <cstring>

namespace atl::rpc {
namespace {

namespace beast_http = boost::beast::http;

constexpr std::size_t kFieldsMax = 512;

Error answer(int status, std::string message) {
  return Error{Errc::invalid, std::move(message), status};
}

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
  static constexpr std::string_view kHop[] = {"host",   "connection",     "keep-alive", "transfer-encoding",
                                              "te",     "content-length", "upgrade",    "expect",
                                              "trailer"};
  if (name.size() > 6 && iequals(name.substr(0, 6), "proxy-")) return true;
  return std::any_of(std::begin(kHop), std::end(kHop), [&](auto hop) { return iequals(hop, name); });
}

// What Beast accepts, or might in another version, though two parsers may read it differently.
Status check_unambiguous(std::string_view text) {
  for (std::size_t at = text.find_first_of(std::string_view("\r\n\0", 3)); at != std::string_view::npos;
       at = text.find_first_of(std::string_view("\r\n\0", 3), at)) {
    if (text[at] == '\0') return answer(400, "NUL in a header");
    if (text[at] == '\n' || at + 1 == text.size() || text[at + 1] != '\n')
      return answer(400, "a line of the head ends without CR LF");
    at += 2;
    if (at < text.size() && (text[at] == ' ' || text[at] == '\t'))
      return answer(400, "folded header lines are refused");
  }
  return ok();
}

bool is_token(std::string_view text) {
  static constexpr std::string_view kOthers = "!#$%&'*+-.^_`|~";
  return !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return (c < 0x80 && std::isalnum(c)) || kOthers.find(static_cast<char>(c)) != kOthers.npos;
  });
}

// Host as RFC 3986 writes it; whatever could end a name or start a path in another parser is refused.
bool is_host(std::string_view text) {
  static constexpr std::string_view kOthers = "-.:[]_~%!$&'()*+,;=";
  return std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return (c < 0x80 && std::isalnum(c)) || kOthers.find(static_cast<char>(c)) != kOthers.npos;
  });
}

// The absolute form that proxies send becomes a path; its authority must be the Host field's.
Status settle_target(RequestHead& head) {
  if (head.method == "CONNECT") {
    if (!is_host(head.target) || head.target.empty()) return answer(400, "CONNECT needs a host and a port");
    head.authority = std::exchange(head.target, "");
    return ok();
  }
  if (head.target.starts_with('/') || (head.target == "*" && head.method == "OPTIONS")) return ok();
  const bool http = head.target.size() > 7 && iequals(std::string_view(head.target).substr(0, 7), "http://");
  if (!http) return answer(400, "the target must be a path");
  const auto slash = std::min(head.target.find_first_of("/?", 7), head.target.size());
  if (!iequals(std::string_view(head.target).substr(7, slash - 7), head.authority))
    return answer(400, "the target and the Host field name different hosts");
  head.target.erase(0, slash);
  if (!head.target.starts_with('/')) head.target.insert(0, "/");
  return ok();
}

template <class Fields>
Result<Framing> framing_of(const Fields& fields, std::optional<std::uint64_t>& length) {
  const auto encodings = fields.count(beast_http::field::transfer_encoding);
  const auto lengths = fields.count(beast_http::field::content_length);
  if (encodings > 0) {
    if (encodings > 1 || lengths > 0)
      return answer(400, "both Transfer-Encoding and Content-Length, or two of one");
    const auto value = fields[beast_http::field::transfer_encoding];
    if (!iequals({value.data(), value.size()}, "chunked"))
      return answer(400, "the only transfer encoding here is chunked");
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
Status take_fields(const Fields& fields, Headers& into) {
  std::size_t count = 0;
  for (const auto& field : fields) {
    if (++count > kFieldsMax)
      return answer(431, "more than " + std::to_string(kFieldsMax) + " header fields");
    const std::string_view name(field.name_string().data(), field.name_string().size());
    if (!is_hop_field(name)) into.add(name, {field.value().data(), field.value().size()});
  }
  return ok();
}

template <class Fields>
std::string_view field(const Fields& fields, beast_http::field which) {
  const auto value = fields[which];
  return {value.data(), value.size()};
}

// Beast calls a space in the target a bad version as well.
bool names_version(std::string_view text) {
  const auto line = text.substr(0, text.find('\r'));
  const auto target_end = line.find(' ', line.find(' ') + 1);
  return target_end != line.npos && line.substr(target_end + 1).starts_with("HTTP/");
}

template <class Parser>
Status feed(Parser& parser, std::string_view text) {
  boost::system::error_code code;
  parser.skip(true);  // the head alone; bodies are decoded here
  parser.header_limit(static_cast<std::uint32_t>(std::min<std::size_t>(text.size() + 1, 1u << 20)));
  parser.body_limit(boost::none);
  parser.put(asio::buffer(text.data(), text.size()), code);
  if (code == beast_http::error::bad_version && names_version(text))
    return answer(505, "only HTTP/1.0 and HTTP/1.1 are spoken here");
  if (code && code != beast_http::error::need_more)
    return answer(400, "malformed HTTP head: " + code.message());
  if (!parser.is_header_done()) return answer(400, "malformed HTTP head");
  return ok();
}

bool safe(std::string_view text) {
  return text.find_first_of(std::string_view("\r\n\0", 3)) == std::string_view::npos;
}

Status append_fields(std::string& text, const Headers& headers) {
  for (const auto& [name, value] : headers.all()) {
    if (!is_token(name) || !safe(value))
      return make_error(Errc::internal,
                        "a header field whose name is no token, or with a line break or NUL, was not sent");
    if (is_hop_field(name)) continue;
    text.append(name).append(": ").append(value).append("\r\n");
  }
  return ok();
}

}  // namespace

Task<Result<std::size_t>> await_head(BufferedReader& reader, std::size_t bytes_max) {
  std::size_t searched = 0;
  for (;;) {
    // Empty lines before a request are skipped (RFC 9112, 2.2).
    while (searched == 0 && reader.buffered().starts_with("\r\n")) reader.consume(2);
    const auto text = reader.buffered();
    const auto end = text.find("\r\n\r\n", searched > 3 ? searched - 3 : 0);
    if (end != std::string_view::npos && end + 4 <= bytes_max) co_return end + 4;
    if (text.size() > bytes_max)
      co_return answer(431, "the head is larger than " + std::to_string(bytes_max) + " bytes");
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
  if (message.version() != 10 && message.version() != 11)
    return answer(505, "HTTP/1.0 and HTTP/1.1 are spoken here");
  out.http_1_0 = message.version() == 10;
  TRY(out.framing, framing_of(message, out.head.content_length));
  if (out.http_1_0 && out.framing == Framing::chunked)
    return answer(400, "HTTP/1.0 has no transfer encodings");
  const auto hosts = message.count(beast_http::field::host);
  if (hosts > 1 || (hosts == 0 && !out.http_1_0)) return answer(400, "exactly one Host field is needed");
  out.head.authority = field(message, beast_http::field::host);
  if (!is_host(out.head.authority)) return answer(400, "the Host field is no host");
  const auto connection = field(message, beast_http::field::connection);
  out.keep_alive = !out.http_1_0 && !token_in_list(connection, "close");
  if (token_in_list(connection, "upgrade")) {
    out.head.upgrade = field(message, beast_http::field::upgrade);
    for (char& c : out.head.upgrade) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    // Offers that a server may ignore: HTTP/2 (clients send it with any request), and any with a body.
    const bool has_body = out.framing == Framing::chunked || out.head.content_length.value_or(0) > 0;
    if (has_body || out.http_1_0 || out.head.upgrade == "h2c") out.head.upgrade.clear();
  }
  out.expects_continue = !out.http_1_0 && iequals(field(message, beast_http::field::expect), "100-continue");
  CHECK_OK(settle_target(out.head));
  CHECK_OK(take_fields(message, out.head.headers));
  return out;
}

Result<ParsedReply> parse_reply_head(std::string_view text, std::string_view request_method) {
  CHECK_OK(check_unambiguous(text));
  beast_http::response_parser<beast_http::empty_body> parser;
  CHECK_OK(feed(parser, text));
  const auto& message = parser.get();
  ParsedReply out;
  out.head.status = static_cast<int>(message.result_int());
  if (out.head.status < 100) return answer(400, "a status below 100");
  TRY(out.framing, framing_of(message, out.head.content_length));
  out.keep_alive =
      message.version() == 11 && !token_in_list(field(message, beast_http::field::connection), "close");
  const bool bodyless =
      request_method == "HEAD" || out.head.status == 204 || out.head.status == 304 || out.head.status < 200;
  if (bodyless)
    out.framing = Framing::none;
  else if (out.framing == Framing::none)
    out.framing = Framing::until_close;
  if (out.framing == Framing::until_close) out.keep_alive = false;
  if (out.framing == Framing::chunked && message.version() != 11)
    return answer(400, "HTTP/1.0 has no transfer encodings");
  CHECK_OK(take_fields(message, out.head.headers));
  if (out.head.status == 101) out.head.headers.add("upgrade", field(message, beast_http::field::upgrade));
  return out;
}

Result<std::string> request_text(const RequestHead& head, Wire wire) {
  const bool tunnel = head.method == "CONNECT";
  std::string text = head.method + " " + (tunnel ? head.authority : head.target) +
                     " HTTP/1.1\r\nHost: " + (head.authority.empty() ? "localhost" : head.authority) + "\r\n";
  const bool good_target =
      tunnel ? !head.authority.empty() : head.target.starts_with('/') || head.target == "*";
  if (!is_token(head.method) || !good_target || !safe(head.target) ||
      head.target.find(' ') != std::string::npos || !is_host(head.authority) || !safe(head.upgrade))
    return make_error(Errc::invalid, "a request whose method, target or authority is malformed was not sent");
  CHECK_OK(append_fields(text, head.headers));
  if (!head.upgrade.empty()) text += "Connection: Upgrade\r\nUpgrade: " + head.upgrade + "\r\n";
  if (wire.chunked)
    text += "Transfer-Encoding: chunked\r\n";
  else if (head.content_length)
    text += "Content-Length: " + std::to_string(*head.content_length) + "\r\n";
  if (wire.close) text += "Connection: close\r\n";
  return text + "\r\n";
}

Result<std::string> reply_text(const ReplyHead& head, Wire wire, bool no_body_status) {
  if (head.status < 100 || head.status > 999)
    return make_error(Errc::internal, "a reply with an impossible status was not sent");
  const auto reason = beast_http::obsolete_reason(beast_http::int_to_status(head.status));
  std::string text =
      fmt::format("HTTP/1.1 {} {}\r\n", head.status, std::string_view(reason.data(), reason.size()));
  CHECK_OK(append_fields(text, head.headers));
  if (head.status == 101) {
    text += "Connection: Upgrade\r\n";
    const auto upgrade = head.headers.get_or("upgrade", "");
    if (!safe(upgrade)) return make_error(Errc::internal, "a header field with a line break was not sent");
    if (!upgrade.empty()) text.append("Upgrade: ").append(upgrade).append("\r\n");
  }
  if (wire.chunked)
    text += "Transfer-Encoding: chunked\r\n";
  else if (head.content_length && !no_body_status)
    text += "Content-Length: " + std::to_string(*head.content_length) + "\r\n";
  if (wire.close) text += "Connection: close\r\n";
  return text + "\r\n";
}

}  // namespace atl::rpc
