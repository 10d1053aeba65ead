#include "rpc/h1_exchange.h"

#include <boost/asio/post.hpp>

#include "rpc/peer_address.h"

namespace atl::rpc {
namespace {

constexpr std::size_t kEarlyBytesMax = 64 * 1024;  // of a next request while one is served

Error client_gone() {
  return make_error(Errc::unavailable, "the client is gone");
}
Error misuse(std::string what) {
  return make_error(Errc::internal, std::move(what));
}

}  // namespace

H1Io::H1Io(Socket socket, std::unique_ptr<SecureLayer> layer, Http1Limits l)
    : limits(l),
      stream(std::move(socket), std::move(layer)),
      reader(stream),
      reading(std::make_shared<Watchdog>(stream.socket())),
      peer(peer_address(stream.socket())) {}

H1Exchange::H1Exchange(std::shared_ptr<H1Io> io, ParsedRequest request)
    : io_(std::move(io)),
      request_(std::move(request)),
      body_(*this, io_->reader, request_.framing, request_.head.content_length.value_or(0)),
      tunnel_(*this) {}

H1Exchange::~H1Exchange() {
  stop_watching();
}

// A client that was not told to send its body may never send it, so nothing can follow.
bool H1Exchange::closes() const {
  return close_ || !request_.keep_alive || io_->stopping ||
         (request_.expects_continue && !body_.reader.ended());
}

Task<Status> H1Exchange::send(std::string_view a, std::string_view b, std::string_view c) {
  if (gone_) co_return client_gone();
  io_->reading->extend();  // a stream that goes the other way is not idle
  const SocketStream::Parts parts{a, b, c};
  const Status sent = co_await io_->stream.write_parts(parts, io_->limits.write_deadline);
  if (sent.ok()) co_return ok();
  lost();
  co_return client_gone();
}

Task<Status> H1Exchange::start(ReplyHead head) {
  if (state_ != State::fresh) co_return misuse("a second reply to one request");
  no_body_ = bodyless(head.status);
  chunked_ = !no_body_ && !head.content_length && !request_.http_1_0;
  if (!no_body_ && !head.content_length && request_.http_1_0) close_ = true;
  left_ = head.content_length;
  const Wire wire{.chunked = chunked_, .close = closes()};
  CO_TRY(const std::string text, reply_text(head, wire, bodyless_status(head.status)));
  state_ = State::started;
  CO_CHECK_OK(co_await send(text, {}, {}));
  watch();
  co_return ok();
}

Task<Status> H1Exchange::write(std::string_view bytes) {
  if (state_ != State::started) co_return misuse("write outside of a reply");
  if (bytes.empty()) co_return ok();
  if (no_body_) co_return gone_ ? Status(client_gone()) : ok();
  if (left_ && bytes.size() > *left_) {
    close_ = true;
    co_return misuse("a body longer than its Content-Length");
  }
  if (left_) *left_ -= bytes.size();
  if (!chunked_) co_return co_await send(bytes, {}, {});
  const std::string prefix = chunk_prefix(bytes.size());
  co_return co_await send(prefix, bytes, "\r\n");
}

Task<Status> H1Exchange::finish() {
  if (state_ == State::finished) co_return ok();
  if (state_ != State::started) co_return misuse("finish without a reply");
  if (!no_body_ && left_.value_or(0) > 0) {
    close_ = true;
    co_return misuse("a body shorter than its Content-Length");
  }
  if (chunked_) CO_CHECK_OK(co_await send("0\r\n\r\n", {}, {}));
  state_ = State::finished;
  on_gone_ = nullptr;
  co_return gone_ ? Status(client_gone()) : ok();
}

Task<Status> H1Exchange::reply(ReplyHead head, std::string body) {
  if (state_ != State::fresh) co_return misuse("a second reply to one request");
  const bool bare = bodyless(head.status);
  if (!bare || !head.content_length) head.content_length = body.size();
  const Wire wire{.chunked = false, .close = closes()};
  CO_TRY(const std::string text, reply_text(head, wire, bodyless_status(head.status)));
  state_ = State::started;
  CO_CHECK_OK(co_await send(text, bare ? std::string_view() : std::string_view(body), {}));
  state_ = State::finished;
  on_gone_ = nullptr;
  co_return ok();
}

Task<Result<ByteStream*>> H1Exchange::tunnel(ReplyHead head) {
  if (state_ != State::fresh) co_return misuse("a second reply to one request");
  if (head.status == 101 && !head.headers.get("upgrade")) head.headers.add("upgrade", request_.head.upgrade);
  CO_TRY(const std::string text, reply_text(head, Wire{}, true));
  // From here on the tunnel reads, and notices itself when the client goes.
  stop_watching();
  state_ = State::tunnel;
  CO_CHECK_OK(co_await send(text, {}, {}));
  co_return static_cast<ByteStream*>(&tunnel_);
}

void H1Exchange::on_gone(std::function<void()> callback) {
  on_gone_ = std::move(callback);
  if (gone_ && on_gone_) {
    gone_ = false;
    lost();
  } else if (on_gone_) {
    watch();
  }
}

// The callback comes later, on the loop, since this may run within the handler's own call; it does
// not come any more when the exchange has ended by then.
void H1Exchange::lost() {
  if (std::exchange(gone_, true) || state_ == State::finished || !on_gone_) return;
  if (!monitor_) monitor_ = std::make_shared<Monitor>(this);
  asio::post(io_->stream.socket().get_executor(), [monitor = monitor_] {
    if (!monitor->exchange) return;
    if (auto callback = std::exchange(monitor->exchange->on_gone_, nullptr)) callback();
  });
}

void H1Exchange::watch() {
  if (monitor_ || state_ == State::tunnel || gone_) return;
  // Bytes of a body belong to whoever reads it. Once they are all here, what comes is the end or early.
  if (!body_.reader.ended()) return;
  monitor_ = std::make_shared<Monitor>(this);
  wait_for_end(io_, monitor_);
}

void H1Exchange::stop_watching() {
  if (auto monitor = std::exchange(monitor_, nullptr)) monitor->exchange = nullptr;
}

// True: look again when the socket is readable. False: there is nothing more to wait for.
bool H1Exchange::look_for_end(H1Io& io, Monitor& monitor) {
  char buffer[4096];
  const ssize_t n = io.stream.read_now(buffer);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return true;
  if (n <= 0) {
    monitor.exchange->lost();
    return false;
  }
  io.reader.push({buffer, static_cast<std::size_t>(n)});
  monitor.early_bytes += n;
  return monitor.early_bytes < kEarlyBytesMax;
}

void H1Exchange::wait_for_end(std::shared_ptr<H1Io> io, std::shared_ptr<Monitor> monitor) {
  while (io->stream.has_unread())
    if (!look_for_end(*io, *monitor)) return;
  Socket& socket = io->stream.socket();
  socket.async_wait(
      Socket::wait_read, [io = std::move(io), monitor = std::move(monitor)](boost::system::error_code error) {
        if (error || !monitor->exchange) return;
        if (look_for_end(*io, *monitor)) wait_for_end(io, monitor);
      });
}

Task<Status> H1Exchange::send_continue() {
  if (!request_.expects_continue || state_ != State::fresh) co_return ok();
  request_.expects_continue = false;
  // A client that sends without waiting needs no leave.
  if (!io_->reader.buffered().empty()) co_return ok();
  co_return co_await send("HTTP/1.1 100 Continue\r\n\r\n", {}, {});
}

Task<Result<std::size_t>> H1Exchange::Body::read_some(std::span<char> into) {
  if (reader.ended()) co_return std::size_t{0};
  CO_CHECK_OK(co_await owner.send_continue());
  struct Limit {
    Watchdog& dog;
    ~Limit() { dog.disarm(); }
  } limit{*owner.io_->reading};
  limit.dog.arm(owner.io_->limits.idle_deadline);
  auto got = co_await reader.read_some(into);
  if (!got.ok()) {
    owner.close_ = true;
    if (got.error().code == Errc::unavailable) owner.lost();
  }
  if (reader.ended() && (owner.on_gone_ || owner.state_ == State::started)) owner.watch();
  co_return got;
}

Task<Result<std::size_t>> H1Exchange::Tunnel::read_some(std::span<char> into) {
  auto got = co_await owner.io_->reader.read_some(into);
  if (!got.ok()) owner.lost();
  co_return got;
}

}  // namespace atl::rpc
