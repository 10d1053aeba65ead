#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <list>

#include "base/wakeup.h"
#include "rpc/h1_wire.h"

namespace atl::rpc {
namespace {

constexpr std::size_t kDrainBytesMax = 256 * 1024;   // of an unread body, to keep the connection
constexpr std::size_t kEarlyBytesMax = 64 * 1024;    // of a next request while one is served
constexpr Millis kLinger{1000};                      // for the client to read a last reply

Error client_gone() { return make_error(Errc::unavailable, "the client is gone"); }

std::string address_of(Socket& socket) {
  boost::system::error_code code;
  const auto endpoint = socket.remote_endpoint(code);
  if (code || (endpoint.protocol().family() != AF_INET && endpoint.protocol().family() != AF_INET6)) return {};
  asio::ip::tcp::endpoint tcp;
  tcp.resize(endpoint.size());
  std::memcpy(tcp.data(), endpoint.data(), endpoint.size());
  return tcp.address().to_string();
}

}  // namespace

// Shuts the socket when a time passes without disarm().
class Watchdog : public std::enable_shared_from_this<Watchdog> {
 public:
  explicit Watchdog(Socket& socket) : socket_(socket), timer_(socket.get_executor()) {}
  void arm(Millis limit) {
    timer_.expires_after(limit);
    timer_.async_wait([self = shared_from_this()](boost::system::error_code error) {
      if (error || !self->open_) return;
      boost::system::error_code ignored;
      self->socket_.shutdown(Socket::shutdown_both, ignored);
    });
  }
  void disarm() { timer_.cancel(); }
  void retire() {
    open_ = false;
    timer_.cancel();
  }

 private:
  Socket& socket_;
  asio::steady_timer timer_;
  bool open_ = true;
};

class H1Exchange;

// One accepted connection; kept alive by its own coroutine and by pending waits.
class H1Connection : public std::enable_shared_from_this<H1Connection> {
 public:
  H1Connection(Socket socket, Http1Limits limits)
      : limits_(limits), stream_(std::move(socket)), reader_(stream_), peer_(address_of(stream_.socket())),
        watchdog_(std::make_shared<Watchdog>(stream_.socket())) {}

  Task<void> run(Handler handler);
  // Between requests: closes now. Else after the present one.
  void stop(bool now) {
    stopping_ = true;
    if (now || idle_) {
      boost::system::error_code ignored;
      stream_.socket().shutdown(Socket::shutdown_both, ignored);
    }
  }

 private:
  friend class H1Exchange;
  Task<bool> serve_one(Handler& handler);
  Task<void> refuse(const Error& error);
  Task<void> linger();
  void monitor(std::uint64_t request);

  Http1Limits limits_;
  SocketStream stream_;
  BufferedReader reader_;
  std::string peer_;
  std::shared_ptr<Watchdog> watchdog_;
  H1Exchange* current_ = nullptr;
  std::uint64_t request_number_ = 0;
  std::size_t early_bytes_ = 0;
  bool stopping_ = false;
  bool idle_ = false;
};

class H1Body final : public ByteSource {
 public:
  H1Body(H1Exchange& owner, BufferedReader& reader, Framing framing, std::uint64_t length)
      : owner_(owner), body_(reader, framing, length) {}
  Task<Result<std::size_t>> read_some(std::span<char> into) override;
  bool ended() const { return body_.ended(); }

 private:
  H1Exchange& owner_;
  BodyReader body_;
};

class H1Tunnel final : public ByteStream {
 public:
  H1Tunnel(SocketStream& stream, BufferedReader& reader) : stream_(stream), reader_(reader) {}
  Task<Result<std::size_t>> read_some(std::span<char> into) override { return reader_.read_some(into); }
  Task<Status> write(std::string_view bytes) override { return stream_.write(bytes); }
  Task<Status> finish() override { return stream_.finish(); }
  void close() override {
    boost::system::error_code ignored;
    stream_.socket().shutdown(Socket::shutdown_both, ignored);
  }

 private:
  SocketStream& stream_;
  BufferedReader& reader_;
};

class H1Exchange final : public Exchange {
 public:
  H1Exchange(H1Connection& connection, ParsedRequest request)
      : connection_(connection), request_(std::move(request)),
        body_(*this, connection.reader_, request_.framing, request_.head.content_length.value_or(0)),
        tunnel_(connection.stream_, connection.reader_) {}

  const RequestHead& request() const override { return request_.head; }
  ByteSource& body() override { return body_; }
  bool has_body() const override { return request_.framing != Framing::none; }
  std::string peer() const override { return connection_.peer_; }

  Task<Status> start(ReplyHead head) override {
    if (state_ != State::fresh) co_return make_error(Errc::internal, "a second reply to one request");
    state_ = State::started;
    no_body_ = is_bodyless(head.status);
    chunked_ = !no_body_ && !head.content_length && !request_.http_1_0;
    if (!no_body_ && !head.content_length && request_.http_1_0) close_ = true;
    left_ = head.content_length;
    auto text = reply_text(head, Wire{.chunked = chunked_, .close = closes()}, is_bodyless_status(head.status));
    if (!text.ok()) co_return fail(std::move(text).error());
    CO_CHECK_OK(co_await send(*text, {}, {}));
    watch_for_end();
    co_return ok();
  }

  Task<Status> write(std::string_view bytes) override {
    if (state_ != State::started) co_return make_error(Errc::internal, "write outside of a reply");
    if (bytes.empty() || no_body_) co_return ok();
    if (left_) {
      if (bytes.size() > *left_) co_return fail(make_error(Errc::internal, "a body longer than its Content-Length"));
      *left_ -= bytes.size();
    }
    if (!chunked_) co_return co_await send(bytes, {}, {});
    const std::string prefix = chunk_prefix(bytes.size());
    co_return co_await send(prefix, bytes, "\r\n");
  }

  Task<Status> finish() override {
    if (state_ == State::finished) co_return ok();
    if (state_ != State::started) co_return make_error(Errc::internal, "finish without a reply");
    if (!no_body_ && left_.value_or(0) > 0) co_return fail(make_error(Errc::internal, "a body shorter than its Content-Length"));
    state_ = State::finished;
    on_gone_ = nullptr;
    if (chunked_) co_return co_await send("0\r\n\r\n", {}, {});
    co_return ok();
  }

  Task<Status> reply(ReplyHead head, std::string body) override {
    if (state_ != State::fresh) co_return make_error(Errc::internal, "a second reply to one request");
    head.content_length = body.size();
    auto text = reply_text(head, Wire{.close = closes()}, is_bodyless_status(head.status));
    if (!text.ok()) co_return fail(std::move(text).error());
    state_ = State::finished;
    on_gone_ = nullptr;
    co_return co_await send(*text, is_bodyless(head.status) ? std::string_view() : std::string_view(body), {});
  }

  Task<Result<ByteStream*>> tunnel(ReplyHead head) override {
    if (state_ != State::fresh) co_return make_error(Errc::internal, "a second reply to one request");
    state_ = State::finished;
    close_ = true;
    tunnelled_ = true;
    auto text = reply_text(head, Wire{}, true);
    if (!text.ok()) co_return std::move(text).error();
    CO_CHECK_OK(co_await send(*text, {}, {}));
    co_return static_cast<ByteStream*>(&tunnel_);
  }

  void on_gone(std::function<void()> callback) override {
    on_gone_ = std::move(callback);
    watch_for_end();
  }
  bool gone() const override { return gone_; }

  Task<Status> before_body_read() {
    if (!std::exchange(request_.expects_continue, false) || state_ != State::fresh) co_return ok();
    co_return co_await send("HTTP/1.1 100 Continue\r\n\r\n", {}, {});
  }
  void body_ended() {
    if (on_gone_ || state_ == State::started) watch_for_end();
  }
  void lost() {
    if (std::exchange(gone_, true)) return;
    if (auto callback = std::exchange(on_gone_, nullptr)) callback();
  }
  bool fresh() const { return state_ == State::fresh; }
  bool reusable() const { return state_ == State::finished && !closes() && !gone_ && !tunnelled_; }
  bool complete() const { return state_ == State::finished; }
  bool tunnelled() const { return tunnelled_; }
  H1Body& h1_body() { return body_; }

 private:
  enum class State : std::uint8_t { fresh, started, finished };

  static bool is_bodyless_status(int status) { return status == 204 || status == 304 || status < 200; }
  bool is_bodyless(int status) const { return request_.head.method == "HEAD" || is_bodyless_status(status); }
  bool closes() const { return close_ || !request_.keep_alive || connection_.stopping_; }
  Status fail(Error error) {
    close_ = true;
    return error;
  }
  void watch_for_end() {
    if (body_.ended() && !monitored_ && !tunnelled_) {
      monitored_ = true;
      connection_.monitor(connection_.request_number_);
    }
  }
  Task<Status> send(std::string_view a, std::string_view b, std::string_view c) {
    if (gone_) co_return client_gone();
    connection_.watchdog_->arm(connection_.limits_.write_deadline);
    const Status sent = co_await connection_.stream_.write_parts(a, b, c);
    connection_.watchdog_->disarm();
    if (sent.ok()) co_return ok();
    lost();
    co_return client_gone();
  }

  H1Connection& connection_;
  ParsedRequest request_;
  H1Body body_;
  H1Tunnel tunnel_;
  std::function<void()> on_gone_;
  std::optional<std::uint64_t> left_;
  State state_ = State::fresh;
  bool no_body_ = false, chunked_ = false, close_ = false, gone_ = false, monitored_ = false, tunnelled_ = false;
};

Task<Result<std::size_t>> H1Body::read_some(std::span<char> into) {
  if (body_.ended()) co_return std::size_t{0};
  CO_CHECK_OK(co_await owner_.before_body_read());
  auto got = co_await body_.read_some(into);
  if (!got.ok() && got.error().code == Errc::unavailable) owner_.lost();
  if (body_.ended()) owner_.body_ended();
  co_return got;
}

// While a handler runs and its request was read whole: notices that the client closed, and keeps
// what it sent early.
void H1Connection::monitor(std::uint64_t request) {
  stream_.socket().async_wait(Socket::wait_read, [self = shared_from_this(), request](boost::system::error_code error) {
    if (error || !self->current_ || self->request_number_ != request) return;
    char buffer[4096];
    const ssize_t n = ::recv(self->stream_.socket().native_handle(), buffer, sizeof buffer, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return self->monitor(request);
    if (n <= 0) return self->current_->lost();
    self->reader_.push({buffer, static_cast<std::size_t>(n)});
    self->early_bytes_ += n;
    if (self->early_bytes_ < kEarlyBytesMax) self->monitor(request);
  });
}

Task<void> H1Connection::refuse(const Error& error) {
  const int status = error.os_error >= 400 && error.os_error < 600 ? error.os_error : http_status(error.code);
  const std::string body = fmt::format(R"({{"code":{},"message":"{}"}})", status, json_escape(error.message));
  ReplyHead head{.status = status, .content_length = body.size()};
  head.headers.add("Content-Type", "application/json");
  const auto text = reply_text(head, Wire{.close = true}, false);
  watchdog_->arm(limits_.write_deadline);
  const Status sent = co_await stream_.write_parts(*text, body, {});
  watchdog_->disarm();
  if (sent.ok()) co_await linger();
}

// Closing with unread bytes resets the connection, and the reset can overtake the reply.
Task<void> H1Connection::linger() {
  const Status finished = co_await stream_.finish();
  if (!finished.ok()) co_return;
  watchdog_->arm(kLinger);
  std::vector<char> sink(16 * 1024);
  for (std::size_t total = 0; total < (4u << 20);) {
    const auto n = co_await stream_.read_some(sink);
    if (!n.ok() || *n == 0) break;
    total += *n;
  }
  watchdog_->disarm();
}

// True: another request may follow.
Task<bool> H1Connection::serve_one(Handler& handler) {
  idle_ = true;
  if (reader_.buffered().empty()) {
    watchdog_->arm(limits_.idle_deadline);
    const auto more = co_await reader_.fill();
    watchdog_->disarm();
    if (!more.ok() || !*more) co_return false;
  }
  idle_ = false;
  watchdog_->arm(limits_.head_deadline);
  auto length = co_await await_head(reader_, limits_.head_bytes_max);
  watchdog_->disarm();
  if (!length.ok()) {
    if (length.error().code == Errc::invalid) co_await refuse(length.error());
    co_return false;
  }
  if (*length == 0) co_return false;
  auto request = parse_request_head(reader_.buffered().substr(0, *length), limits_);
  reader_.consume(*length);
  if (!request.ok()) {
    co_await refuse(request.error());
    co_return false;
  }
  ++request_number_;
  early_bytes_ = 0;
  H1Exchange exchange(*this, std::move(*request));
  current_ = &exchange;
  std::string failure;
  try {
    co_await handler(exchange);
  } catch (const std::exception& e) {
    failure = e.what();
  }
  if (!failure.empty()) log_error("request handler failed", {{"target", exchange.request().target}, {"error", failure}});
  if (exchange.fresh() && !exchange.gone()) {
    ReplyHead head{.status = 500};
    head.headers.add("Content-Type", "application/json");
    const Status sent = co_await exchange.reply(std::move(head), R"({"code":500,"message":"internal error"})");
    (void)sent.ok();
  }
  current_ = nullptr;
  if (exchange.tunnelled() || exchange.gone() || !exchange.complete()) co_return false;
  // A body that the handler left unread: a short one is drained, else the connection ends.
  watchdog_->arm(kLinger);
  std::vector<char> sink;
  for (std::size_t total = 0; !exchange.h1_body().ended() && total < kDrainBytesMax;) {
    sink.resize(16 * 1024);
    const auto n = co_await exchange.h1_body().read_some(sink);
    if (!n.ok()) break;
    total += *n;
  }
  watchdog_->disarm();
  if (!exchange.h1_body().ended() || !exchange.reusable()) {
    co_await linger();
    co_return false;
  }
  co_return true;
}

Task<void> H1Connection::run(Handler handler) {
  const auto self = shared_from_this();
  for (bool more = true; more && !stopping_;) more = co_await serve_one(handler);
  watchdog_->retire();
  stream_.close();
}

struct Http1Server::Impl : std::enable_shared_from_this<Http1Server::Impl> {
  using Acceptor = asio::basic_socket_acceptor<asio::generic::stream_protocol>;

  Impl(asio::any_io_executor ex, Http1Limits l, Handler h)
      : executor(std::move(ex)), limits(l), handler(std::move(h)), ended(executor) {}

  Status bind(Acceptor& acceptor, const asio::generic::stream_protocol::endpoint& endpoint, bool tcp) {
    boost::system::error_code code;
    acceptor.open(endpoint.protocol(), code);
    if (!code && tcp) acceptor.set_option(asio::socket_base::reuse_address(true), code);
    if (!code) ::fcntl(acceptor.native_handle(), F_SETFD, FD_CLOEXEC);
    if (!code) acceptor.bind(endpoint, code);
    if (!code) acceptor.listen(1024, code);
    if (code) return os_error("listen", "", code.value());
    return ok();
  }

  void accept_on(std::shared_ptr<Acceptor> acceptor) {
    acceptors.push_back(acceptor);
    spawn(executor, "http1 accept", accept_loop(shared_from_this(), std::move(acceptor)));
  }

  static Task<void> accept_loop(std::shared_ptr<Impl> self, std::shared_ptr<Acceptor> acceptor) {
    while (acceptor->is_open()) {
      auto [code, socket] = co_await acceptor->async_accept(asio::as_tuple(asio::use_awaitable));
      if (!code) {
        self->take(Socket(std::move(socket)));
      } else if (acceptor->is_open() && code != asio::error::operation_aborted) {
        // Out of descriptors, most likely: others must end first.
        log_warn("accept failed, carrying on", {{"error", code.message()}});
        co_await sleep_for(Millis(50));
      }
    }
  }

  void take(Socket socket) {
    ::fcntl(socket.native_handle(), F_SETFD, FD_CLOEXEC);
    const int on = 1;
    ::setsockopt(socket.native_handle(), IPPROTO_TCP, 1 /* TCP_NODELAY */, &on, sizeof on);
    if (connections.size() >= limits.connections_max) {
      static const std::string kBody = R"({"code":503,"message":"too many connections, try again later"})";
      static const std::string kFull =
          "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\n"
          "Connection: close\r\nContent-Length: " + std::to_string(kBody.size()) + "\r\n\r\n" + kBody;
      [[maybe_unused]] auto n = ::send(socket.native_handle(), kFull.data(), kFull.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
      return;
    }
    auto connection = std::make_shared<H1Connection>(std::move(socket), limits);
    connections.push_back(connection);
    const auto at = std::prev(connections.end());
    asio::co_spawn(executor, connection->run(handler), [self = shared_from_this(), at, connection](std::exception_ptr failure) {
      self->connections.erase(at);
      self->ended.notify();
      if (failure) log_error("an HTTP connection's task failed");
    });
  }

  asio::any_io_executor executor;
  Http1Limits limits;
  Handler handler;
  std::vector<std::shared_ptr<Acceptor>> acceptors;
  std::list<std::shared_ptr<H1Connection>> connections;
  Wakeup ended;
};

Http1Server::Http1Server(asio::any_io_executor executor, Http1Limits limits, Handler handler)
    : impl_(std::make_shared<Impl>(std::move(executor), limits, std::move(handler))) {}

Http1Server::~Http1Server() {
  boost::system::error_code ignored;
  for (auto& acceptor : impl_->acceptors) acceptor->close(ignored);
  for (auto& connection : impl_->connections) connection->stop(true);
}

Result<std::uint16_t> Http1Server::listen_tcp(const std::string& address, std::uint16_t port) {
  boost::system::error_code code;
  const auto parsed = asio::ip::make_address(address, code);
  if (code) return make_error(Errc::invalid, "listen address '" + address + "' is no IP address");
  auto acceptor = std::make_shared<Impl::Acceptor>(impl_->executor);
  const Status bound = impl_->bind(*acceptor, asio::ip::tcp::endpoint(parsed, port), true);
  if (!bound.ok()) return with_context(bound.error(), address + ":" + std::to_string(port));
  asio::ip::tcp::endpoint local;
  const auto raw = acceptor->local_endpoint();
  local.resize(raw.size());
  std::memcpy(local.data(), raw.data(), raw.size());
  impl_->accept_on(std::move(acceptor));
  return local.port();
}

Status Http1Server::listen_unix(const std::string& path, unsigned mode) {
  struct stat info {};
  if (::lstat(path.c_str(), &info) == 0) {
    if (!S_ISSOCK(info.st_mode)) return make_error(Errc::exists, path + ": exists and is no socket");
    if (::unlink(path.c_str()) != 0) return os_error("unlink", path);
  }
  auto acceptor = std::make_shared<Impl::Acceptor>(impl_->executor);
  boost::system::error_code code;
  const Status bound = impl_->bind(*acceptor, asio::local::stream_protocol::endpoint(path), false);
  if (!bound.ok()) return with_context(bound.error(), path);
  if (::chmod(path.c_str(), mode) != 0) return os_error("chmod", path);
  impl_->accept_on(std::move(acceptor));
  return ok();
}

void Http1Server::serve(Socket socket) { impl_->take(std::move(socket)); }

Task<void> Http1Server::stop(Millis grace) {
  const auto impl = impl_;
  boost::system::error_code ignored;
  for (auto& acceptor : impl->acceptors) acceptor->close(ignored);
  for (auto& connection : impl->connections) connection->stop(false);
  const auto until = std::chrono::steady_clock::now() + grace;
  while (!impl->connections.empty()) {
    const bool changed = co_await impl->ended.wait_until(until);
    if (!changed) break;
  }
  for (auto& connection : impl->connections) connection->stop(true);
}

}  // namespace atl::rpc
