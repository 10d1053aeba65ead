#include "rpc/http2.h"

#include <boost/asio/post.hpp>
#include <list>

#include "rpc/h2_session.h"

namespace atl::rpc {
namespace {

using SessionPtr = std::shared_ptr<H2Session>;

class H2Body final : public ByteSource {
 public:
  H2Body(SessionPtr session, H2StreamPtr stream) : session_(std::move(session)), stream_(std::move(stream)) {}
  Task<Result<std::size_t>> read_some(std::span<char> into) override {
    return session_->read_some(stream_, into);
  }

 private:
  SessionPtr session_;
  H2StreamPtr stream_;
};

class H2Tunnel final : public ByteStream {
 public:
  H2Tunnel(SessionPtr session, H2StreamPtr stream)
      : session_(std::move(session)), stream_(std::move(stream)) {}
  Task<Result<std::size_t>> read_some(std::span<char> into) override {
    return session_->read_some(stream_, into);
  }
  Task<Status> write(std::string_view bytes) override { return session_->write(stream_, bytes); }
  Task<Status> finish() override { return session_->finish(stream_); }
  void close() override { session_->release(*stream_, NGHTTP2_CANCEL); }

 private:
  SessionPtr session_;
  H2StreamPtr stream_;
};

class H2Exchange final : public Exchange {
 public:
  H2Exchange(SessionPtr session, H2StreamPtr stream)
      : session_(std::move(session)),
        stream_(std::move(stream)),
        body_(session_, stream_),
        tunnel_(session_, stream_) {}

  const RequestHead& request() const override { return stream_->request; }
  ByteSource& body() override { return body_; }
  bool has_body() const override { return !(stream_->in_end && stream_->unread() == 0); }

  Task<Status> start(ReplyHead head) override {
    if (started_) co_return misuse("a second reply to one request");
    no_body_ = bodyless(head.status);
    if (!no_body_) stream_->out_left = head.content_length;
    if (stream_->out_left == 0u) stream_->out_end = true;
    const Status sent = session_->respond(*stream_, head, !no_body_);
    started_ = sent.ok() || sent.error().code == Errc::unavailable;
    co_return sent;
  }
  Task<Status> write(std::string_view bytes) override {
    if (!started_) co_return misuse("write without a reply's head");
    if (no_body_) co_return ok();
    co_return co_await session_->write(stream_, bytes);
  }
  Task<Status> finish() override {
    if (!started_) co_return misuse("finish without a reply's head");
    co_return co_await session_->finish(stream_);
  }

  Task<Status> reply(ReplyHead head, std::string body) override {
    if (started_) co_return misuse("a second reply to one request");
    const bool bare = bodyless(head.status);
    if (!bare || !head.content_length) head.content_length = body.size();
    const bool has_body = !bare && !body.empty();
    H2Lent lent(*stream_, has_body ? std::string_view(body) : std::string_view());
    stream_->out_end = true;
    const Status begun = session_->respond(*stream_, head, has_body);
    started_ = begun.ok() || begun.error().code == Errc::unavailable;
    if (!started_) stream_->out = {};  // nothing was sent: another reply may be
    if (!begun.ok()) co_return begun;
    while (!stream_->out_ended) {
      if (stream_->closed) co_return H2Session::gone(*stream_);
      co_await stream_->changed.wait();
    }
    co_return ok();
  }

  Task<Result<ByteStream*>> tunnel(ReplyHead head) override {
    head.content_length.reset();
    CO_CHECK_OK(co_await start(std::move(head)));
    co_return static_cast<ByteStream*>(&tunnel_);
  }

  void on_gone(std::function<void()> callback) override {
    if (stream_->released) return;
    stream_->on_gone = std::move(callback);
    if (!stream_->on_gone || !gone()) return;
    asio::post(session_->executor(), [stream = stream_] {
      if (auto late = std::exchange(stream->on_gone, nullptr)) late();
    });
  }
  bool gone() const override { return stream_->closed && !stream_->out_ended; }
  std::string peer() const override { return session_->peer(); }
  bool started() const { return started_; }
  bool finished() const { return stream_->out_end && !stream_->out_cut; }

 private:
  static Error misuse(std::string what) { return make_error(Errc::internal, std::move(what)); }
  bool bodyless(int status) const { return request().method == "HEAD" || status == 204 || status == 304; }

  SessionPtr session_;
  H2StreamPtr stream_;
  H2Body body_;
  H2Tunnel tunnel_;
  bool started_ = false, no_body_ = false;
};

// Runs one request to its end. Whatever the handler did, the stream is answered or reset.
Task<void> run_handler(SessionPtr session, H2StreamPtr stream, Handler handler) {
  H2Exchange exchange(session, stream);
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
  if (!exchange.started() && !exchange.gone()) {
    ReplyHead head;
    head.status = 500;
    head.headers.add("content-type", "application/json");
    const Status sent =
        co_await exchange.reply(std::move(head), R"({"code":500,"message":"internal error"})");
    (void)sent.ok();
  }
  session->release(*stream, exchange.finished() ? NGHTTP2_NO_ERROR : NGHTTP2_INTERNAL_ERROR);
}

class H2ClientExchange final : public ClientExchange {
 public:
  H2ClientExchange(SessionPtr session, H2StreamPtr stream)
      : session_(std::move(session)), stream_(std::move(stream)) {}
  ~H2ClientExchange() override { session_->release(*stream_, NGHTTP2_CANCEL); }

  Task<Status> write(std::string_view bytes) override { return session_->write(stream_, bytes); }
  Task<Status> finish_body() override { return session_->finish(stream_); }
  Task<Result<ReplyHead>> head() override {
    const auto stream = stream_;
    while (!stream->head_complete) {
      if (stream->closed || !session_->alive()) co_return with_context(H2Session::gone(*stream), "no reply");
      co_await stream->changed.wait();
    }
    co_return stream->reply;
  }
  Task<Result<std::size_t>> read_some(std::span<char> into) override {
    return session_->read_some(stream_, into);
  }
  void cancel() override { session_->release(*stream_, NGHTTP2_CANCEL); }

 private:
  SessionPtr session_;
  H2StreamPtr stream_;
};

class H2ClientImpl final : public Http2Client {
 public:
  explicit H2ClientImpl(SessionPtr session) : session_(std::move(session)) {}
  ~H2ClientImpl() override { session_->close(); }

  Task<Result<std::unique_ptr<ClientExchange>>> open(RequestHead head, bool has_body) override {
    CO_TRY(H2StreamPtr stream, session_->open(head, has_body));
    co_return std::unique_ptr<ClientExchange>(
        std::make_unique<H2ClientExchange>(session_, std::move(stream)));
  }
  void close() override { session_->close(); }
  bool alive() const override { return session_->alive(); }
  Task<Status> ping(Millis deadline) override { return session_->ping(deadline); }

 private:
  SessionPtr session_;
};

// Handlers of streams that a peer has reset still run for a while, so they are counted apart from streams.
struct Handlers {
  std::size_t running = 0;
};

void start_handler(const SessionPtr& session, std::shared_ptr<Handlers> handlers, H2StreamPtr stream,
                   const Handler& handler) {
  if (handlers->running >= 2 * std::size_t{session->limits().streams_max})
    return session->release(*stream, NGHTTP2_REFUSED_STREAM);
  ++handlers->running;
  auto done = [session, handlers](std::exception_ptr failure) {
    --handlers->running;
    session->ended().notify();
    if (failure) log_error("http2 handler: task failed after its reply");
  };
  asio::co_spawn(session->executor(), run_handler(session, std::move(stream), handler), std::move(done));
}

}  // namespace

Http2Limits client_limits() {
  Http2Limits limits;
  limits.streams_max = 128;
  limits.head_bytes_max = 64 * 1024;
  limits.stream_window_bytes = 512u << 10;
  limits.connection_window_bytes = 2u << 20;
  limits.frame_bytes_max = 16u << 10;
  limits.resets_per_second_max = 200;
  limits.idle_frames_per_second_max = 200;
  limits.head_deadline = Millis(10'000);
  limits.first_request_deadline = Millis(20'000);
  limits.open_head_bytes_max = 256 * 1024;
  limits.idle_deadline = Millis(620'000);
  limits.write_deadline = Millis(75'000);
  return limits;
}

namespace {

// Closes the session also when the coroutine that has it is cancelled.
struct CloseSession {
  SessionPtr session;
  ~CloseSession() { session->close(); }
};

Task<void> serve_session(SessionPtr session, Handler handler) {
  const CloseSession close{session};
  auto handlers = std::make_shared<Handlers>();
  auto on_request = [weak = std::weak_ptr(session), handlers, handler](H2StreamPtr stream) {
    if (const auto strong = weak.lock()) start_handler(strong, handlers, std::move(stream), handler);
  };
  session->start(std::move(on_request), nullptr);
  while (session->alive() || handlers->running > 0) co_await session->ended().wait();
}

}  // namespace

Task<void> serve_http2(Socket socket, Http2Limits limits, Handler handler) {
  auto session = std::make_shared<H2Session>(std::move(socket), nullptr, limits, H2Session::Side::server);
  co_await serve_session(std::move(session), std::move(handler));
}

struct Http2Server::Impl : std::enable_shared_from_this<Http2Server::Impl> {
  Impl(asio::any_io_executor ex, Http2Limits l, std::size_t most, Handler h)
      : executor(std::move(ex)), limits(l), connections_max(most), handler(std::move(h)), ended(executor) {}

  void take(Socket socket, std::unique_ptr<SecureLayer> layer) {
    auto session =
        std::make_shared<H2Session>(std::move(socket), std::move(layer), limits, H2Session::Side::server);
    if (stopping || (sessions.size() >= connections_max && !make_room())) {
      session->start([](H2StreamPtr) {}, nullptr);
      return session->close();
    }
    const auto at = sessions.insert(sessions.end(), session);
    auto done = [self = shared_from_this(), at](std::exception_ptr failure) {
      self->sessions.erase(at);
      self->ended.notify();
      if (failure) log_error("http2 connection: task failed");
    };
    asio::co_spawn(executor, serve_session(std::move(session), handler), std::move(done));
  }

  // Closes the connection that has carried nothing for longest.
  bool make_room() {
    SessionPtr idlest;
    for (const SessionPtr& session : sessions)
      if (session->alive() && !session->has_streams() && (!idlest || session->last_use() < idlest->last_use()))
        idlest = session;
    if (idlest) idlest->close();
    return idlest != nullptr;
  }

  Task<void> wait_for_sessions(Millis limit) {
    const auto until = std::chrono::steady_clock::now() + limit;
    while (!sessions.empty() && std::chrono::steady_clock::now() < until) co_await ended.wait_until(until);
  }

  asio::any_io_executor executor;
  Http2Limits limits;
  std::size_t connections_max;
  Handler handler;
  std::list<SessionPtr> sessions;
  Wakeup ended;
  bool stopping = false;
};

Http2Server::Http2Server(asio::any_io_executor executor, Http2Limits limits, std::size_t connections_max,
                         Handler handler)
    : impl_(std::make_shared<Impl>(std::move(executor), limits, connections_max, std::move(handler))) {}

Http2Server::~Http2Server() {
  for (const auto& session : std::list(impl_->sessions)) session->close();
}

void Http2Server::serve(Socket socket, std::unique_ptr<SecureLayer> layer) {
  impl_->take(std::move(socket), std::move(layer));
}

Task<void> Http2Server::stop(Millis grace) {
  constexpr Millis kLastWait{1000};
  const auto impl = impl_;
  impl->stopping = true;
  for (const auto& session : std::list(impl->sessions)) {
    session->wind_down();
    if (!session->has_streams()) session->close();
  }
  co_await impl->wait_for_sessions(grace);
  for (const auto& session : std::list(impl->sessions)) session->close();
  co_await impl->wait_for_sessions(kLastWait);
}

std::shared_ptr<Http2Client> http2_client(Socket socket, Http2Limits limits, std::function<void()> on_end) {
  auto session = std::make_shared<H2Session>(std::move(socket), nullptr, limits, H2Session::Side::client);
  auto client = std::make_shared<H2ClientImpl>(session);
  session->start([](H2StreamPtr) {}, std::move(on_end));
  return client;
}

}  // namespace atl::rpc
