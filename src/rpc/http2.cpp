#include "rpc/http2.h"

#include "rpc/h2_session.h"

namespace atl::rpc {
namespace {

using SessionPtr = std::shared_ptr<H2Session>;

class H2Body final : public ByteSource {
 public:
  H2Body(SessionPtr session, H2StreamPtr stream) : session_(std::move(session)), stream_(std::move(stream)) {}
  Task<Result<std::size_t>> read_some(std::span<char> into) override { return session_->read_some(stream_, into); }

 private:
  SessionPtr session_;
  H2StreamPtr stream_;
};

class H2Tunnel final : public ByteStream {
 public:
  H2Tunnel(SessionPtr session, H2StreamPtr stream) : session_(std::move(session)), stream_(std::move(stream)) {}
  Task<Result<std::size_t>> read_some(std::span<char> into) override { return session_->read_some(stream_, into); }
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
      : session_(std::move(session)), stream_(std::move(stream)), body_(session_, stream_), tunnel_(session_, stream_) {}

  const RequestHead& request() const override { return stream_->request; }
  ByteSource& body() override { return body_; }

  Task<Status> start(ReplyHead head) override {
    if (started_) co_return make_error(Errc::internal, "a second reply to one request");
    started_ = true;
    co_return session_->respond(*stream_, head, true);
  }
  Task<Status> write(std::string_view bytes) override {
    if (request().method == "HEAD") co_return ok();
    co_return co_await session_->write(stream_, bytes);
  }
  Task<Status> finish() override { return session_->finish(stream_); }

  Task<Status> reply(ReplyHead head, std::string body) override {
    if (started_) co_return make_error(Errc::internal, "a second reply to one request");
    started_ = true;
    const bool bare = head.status == 204 || head.status == 304;
    if (!bare) head.content_length = body.size();
    if (bare || body.empty() || request().method == "HEAD") co_return session_->respond(*stream_, head, false);
    stream_->out = body;
    stream_->out_end = true;
    const Status begun = session_->respond(*stream_, head, true);
    while (begun.ok() && !stream_->out.empty() && !stream_->closed) co_await stream_->changed.wait();
    const bool sent = stream_->out.empty();
    stream_->out = {};
    if (!begun.ok()) co_return begun;
    co_return sent ? ok() : Status(make_error(Errc::unavailable, "the client is gone"));
  }

  Task<Result<ByteStream*>> tunnel(ReplyHead head) override {
    CO_CHECK_OK(co_await start(std::move(head)));
    co_return static_cast<ByteStream*>(&tunnel_);
  }

  void on_gone(std::function<void()> callback) override {
    if (stream_->closed) return;
    stream_->on_gone = std::move(callback);
  }
  bool gone() const override { return stream_->broken() || (stream_->closed && !stream_->out_ended); }
  bool started() const { return started_; }
  bool finished() const { return stream_->out_end; }

 private:
  SessionPtr session_;
  H2StreamPtr stream_;
  H2Body body_;
  H2Tunnel tunnel_;
  bool started_ = false;
};

// Runs one request to its end. Whatever the handler did, the stream is answered or reset.
Task<void> run_handler(SessionPtr session, H2StreamPtr stream, Handler handler) {
  H2Exchange exchange(session, stream);
  std::string failure;
  try {
    co_await handler(exchange);
  } catch (const std::exception& e) {
    failure = e.what();
  }
  if (!failure.empty()) log_error("request handler failed", {{"target", exchange.request().target}, {"error", failure}});
  if (!exchange.started() && !exchange.gone()) {
    ReplyHead head{.status = 500};
    const Status sent = co_await exchange.reply(std::move(head), R"({"code":500,"message":"internal error"})");
    (void)sent.ok();
  }
  session->release(*stream, exchange.finished() ? NGHTTP2_NO_ERROR : NGHTTP2_INTERNAL_ERROR);
}

class H2ClientExchange final : public ClientExchange {
 public:
  H2ClientExchange(SessionPtr session, H2StreamPtr stream) : session_(std::move(session)), stream_(std::move(stream)) {}
  ~H2ClientExchange() override { session_->release(*stream_, NGHTTP2_CANCEL); }

  Task<Status> write(std::string_view bytes) override { return session_->write(stream_, bytes); }
  Task<Status> finish_body() override { return session_->finish(stream_); }
  Task<Result<ReplyHead>> head() override {
    while (!stream_->head_complete) {
      if (stream_->closed || !session_->alive())
        co_return make_error(Errc::unavailable, "the HTTP/2 stream was closed before a reply");
      co_await stream_->changed.wait();
    }
    co_return stream_->reply;
  }
  Task<Result<std::size_t>> read_some(std::span<char> into) override { return session_->read_some(stream_, into); }
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
    if (!session_->alive()) co_return make_error(Errc::unavailable, "the HTTP/2 connection is closed");
    H2StreamPtr stream = session_->open(head, has_body);
    if (!stream) co_return make_error(Errc::unavailable, "the HTTP/2 connection takes no such request");
    co_return std::unique_ptr<ClientExchange>(std::make_unique<H2ClientExchange>(session_, std::move(stream)));
  }
  void close() override { session_->close(); }
  bool alive() const override { return session_->alive(); }
  Task<Status> ping(Millis deadline) override { return session_->ping(deadline); }

 private:
  SessionPtr session_;
};

}  // namespace

Task<void> serve_http2(Socket socket, Http2Limits limits, Handler handler) {
  auto session = std::make_shared<H2Session>(std::move(socket), limits, H2Session::Side::server);
  auto running = std::make_shared<std::size_t>(0);
  auto on_request = [weak = std::weak_ptr(session), running, handler](H2StreamPtr stream) {
    const auto strong = weak.lock();
    if (!strong) return;
    ++*running;
    // Started by a post, since this is within nghttp2's callback.
    asio::co_spawn(strong->executor(), run_handler(strong, std::move(stream), handler),
                   [strong, running](std::exception_ptr failure) {
                     --*running;
                     strong->ended().notify();
                     if (failure) log_error("request handler failed after its reply");
                   });
  };
  session->start(std::move(on_request), nullptr);
  while (session->alive() || *running > 0) co_await session->ended().wait();
}

std::shared_ptr<Http2Client> http2_client(Socket socket, Http2Limits limits, std::function<void()> on_end) {
  auto session = std::make_shared<H2Session>(std::move(socket), limits, H2Session::Side::client);
  session->start([](H2StreamPtr) {}, std::move(on_end));
  return std::make_shared<H2ClientImpl>(std::move(session));
}

}  // namespace atl::rpc
