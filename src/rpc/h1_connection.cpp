#include "rpc/h1_connection.h"

namespace atl::rpc {
namespace {

constexpr std::size_t kDrainBytesMax = 256 * 1024;  // of an unread body, to keep the connection
constexpr Millis kLinger{1000};                     // of silence, for the client to read a last reply
constexpr Millis kLingerMax{10'000};                // for one that goes on sending a body that was refused

}  // namespace

void H1Connection::stop(bool now) {
  io_->stopping = true;
  if (now || idle_) io_->stream.shut();
}

Task<void> H1Connection::run(Handler handler) {
  const auto self = shared_from_this();
  for (bool more = true; more && !io_->stopping;) more = co_await serve_one(handler);
  io_->reading->retire();
  io_->stream.close();
}

Task<void> H1Connection::run_refusing(Error error) {
  const auto self = shared_from_this();
  co_await refuse(std::move(error));
  io_->reading->retire();
  io_->stream.close();
}

Task<void> H1Connection::refuse(Error error) {
  const int status = error.os_error >= 400 && error.os_error < 600 ? error.os_error : http_status(error.code);
  const std::string body = fmt::format(R"({{"code":{},"message":"{}"}})", status, json_escape(error.message));
  ReplyHead head;
  head.status = status;
  head.content_length = body.size();
  head.headers.add("Content-Type", "application/json");
  if (status == 503) head.headers.add("Retry-After", "1");
  const auto text = reply_text(head, Wire{.chunked = false, .close = true}, false);
  if (!text.ok()) co_return;
  const SocketStream::Parts parts{*text, body, {}};
  const Status sent = co_await io_->stream.write_parts(parts, kLinger);
  if (sent.ok()) co_await linger();
}

// Closing with unread bytes resets the connection, and the reset can overtake the reply: many clients
// send their whole body before they read why it was refused.
Task<void> H1Connection::linger() {
  const Status finished = co_await io_->stream.finish();
  if (!finished.ok()) co_return;
  const auto until = std::chrono::steady_clock::now() + kLingerMax;
  std::vector<char> sink(64 * 1024);
  while (std::chrono::steady_clock::now() < until) {
    io_->reading->arm(kLinger);
    const auto n = co_await io_->stream.read_some(sink);
    if (!n.ok() || *n == 0) break;
  }
  io_->reading->disarm();
}

Task<std::optional<ParsedRequest>> H1Connection::next_request() {
  auto& reader = io_->reader;
  if (reader.buffered().empty()) {
    reader.release_if_empty();
    idle_ = true;
    io_->reading->arm(io_->limits.idle_deadline);
    const bool readable = co_await io_->stream.wait_readable();
    idle_ = false;
    if (!readable) co_return std::nullopt;
  }
  io_->reading->arm(io_->limits.head_deadline);
  auto length = co_await await_head(reader, io_->limits.head_bytes_max);
  io_->reading->disarm();
  if (length.ok() && *length == 0) co_return std::nullopt;
  if (!length.ok()) {
    if (length.error().code == Errc::invalid) co_await refuse(length.error());
    co_return std::nullopt;
  }
  auto request = parse_request_head(reader.buffered().substr(0, *length), io_->limits);
  reader.consume(*length);
  if (request.ok()) co_return std::move(*request);
  co_await refuse(request.error());
  co_return std::nullopt;
}

Task<void> H1Connection::call_handler(Handler& handler, H1Exchange& exchange) {
  std::string failure;
  try {
    co_await handler(exchange);
  } catch (const std::exception& e) {
    failure = e.what();
  } catch (...) {
    failure = "an exception of unknown type";
  }
  if (!failure.empty())
    log_error("request handler failed",
              {{"target", exchange.request().target.substr(0, 200)}, {"error", failure}});
  if (!exchange.fresh() || exchange.gone()) co_return;
  ReplyHead head;
  head.status = 500;
  head.headers.add("Content-Type", "application/json");
  const Status sent = co_await exchange.reply(std::move(head), R"({"code":500,"message":"internal error"})");
  (void)sent.ok();
}

// Reads what little a handler left of its request's body. True: all of it.
Task<bool> H1Connection::drain(H1Exchange& exchange) {
  BodyReader& body = exchange.raw_body();
  if (!body.ended() && exchange.awaits_continue()) co_return false;
  if (body.left().value_or(0) > kDrainBytesMax) co_return false;
  std::vector<char> sink;
  io_->reading->arm(kLinger);
  for (std::size_t total = 0; !body.ended() && total <= kDrainBytesMax;) {
    sink.resize(16 * 1024);
    const auto n = co_await body.read_some(sink);
    if (!n.ok()) break;
    total += *n;
  }
  io_->reading->disarm();
  co_return body.ended();
}

// True: another request may follow.
Task<bool> H1Connection::serve_one(Handler& handler) {
  auto request = co_await next_request();
  if (!request) co_return false;
  H1Exchange exchange(io_, std::move(*request));
  co_await call_handler(handler, exchange);
  if (exchange.tunnelled() || exchange.gone()) co_return false;
  if (!exchange.complete()) {
    io_->stream.abort();
    co_return false;
  }
  const bool keep = exchange.keeps_alive();
  const bool drained = co_await drain(exchange);
  if (keep && drained && !io_->stopping) co_return true;
  co_await linger();
  co_return false;
}

}  // namespace atl::rpc
