#include <fcntl.h>
#include <sys/socket.h>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>

#include "base/deadline.h"
#include "rpc/h1_body.h"

namespace atl::rpc {
namespace {

constexpr std::size_t kReplyHeadMax = 128 * 1024;
// Servers close idle connections; one that was kept longer is not tried.
constexpr std::chrono::seconds kKeptMax{60};

// A stream to a server with what was read too many from it.
struct Link {
  explicit Link(std::unique_ptr<ByteStream> s) : stream(std::move(s)), reader(*stream) {}
  std::unique_ptr<ByteStream> stream;
  BufferedReader reader;
  int fd = -1;  // of a socket, to see whether the server closed it; -1 for other streams
  std::chrono::steady_clock::time_point kept_since{};
};
using LinkPtr = std::unique_ptr<Link>;

// Kept connections to one target; outlives its client while exchanges still give back to it.
struct Pool {
  std::size_t most = 0;
  bool open = true;
  std::vector<LinkPtr> idle;

  void put(LinkPtr link) {
    if (!open || idle.size() >= most || !link->reader.buffered().empty() || link->fd < 0) return;
    link->kept_since = std::chrono::steady_clock::now();
    idle.push_back(std::move(link));
  }
  LinkPtr take() {
    while (!idle.empty()) {
      LinkPtr link = std::move(idle.back());
      idle.pop_back();
      char byte;
      const ssize_t n = ::recv(link->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
      const bool usable = n < 0 && errno == EAGAIN;
      if (usable && std::chrono::steady_clock::now() - link->kept_since < kKeptMax) return link;
    }
    return nullptr;
  }
};

class H1ClientExchange final : public ClientExchange {
 public:
  H1ClientExchange(LinkPtr link, std::shared_ptr<Pool> pool, RequestHead head, bool has_body)
      : link_(std::move(link)), pool_(std::move(pool)), method_(head.method), upgrade_(!head.upgrade.empty()),
        chunked_(has_body && !head.content_length), sent_all_(!has_body) {}

  Task<Status> send_head(const RequestHead& head) {
    Wire wire{.chunked = chunked_, .close = !pool_};
    if (upgrade_) wire.close = false;
    CO_TRY(const std::string text, request_text(head, wire));
    co_return co_await link_->stream->write(text);
  }

  Task<Status> write(std::string_view bytes) override {
    if (!link_) co_return lost();
    if (bytes.empty()) co_return ok();
    if (raw_ || !chunked_) co_return co_await link_->stream->write(bytes);
    // One write for what is small, so that it is one packet.
    if (bytes.size() <= 16 * 1024) {
      const std::string framed = chunk_prefix(bytes.size()) + std::string(bytes) + "\r\n";
      co_return co_await link_->stream->write(framed);
    }
    const std::string prefix = chunk_prefix(bytes.size());
    CO_CHECK_OK(co_await link_->stream->write(prefix));
    CO_CHECK_OK(co_await link_->stream->write(bytes));
    co_return co_await link_->stream->write("\r\n");
  }

  Task<Status> finish_body() override {
    if (!link_) co_return lost();
    if (raw_) co_return co_await link_->stream->finish();
    if (std::exchange(sent_all_, true)) co_return ok();
    if (chunked_) co_return co_await link_->stream->write("0\r\n\r\n");
    co_return ok();
  }

  Task<Result<ReplyHead>> head() override {
    if (reply_) co_return *reply_;
    for (;;) {
      if (!link_) co_return lost();
      CO_TRY(const std::size_t length, co_await await_head(link_->reader, kReplyHeadMax));
      if (length == 0) co_return lost();
      if (!link_) co_return lost();
      auto parsed = parse_reply_head(link_->reader.buffered().substr(0, length), method_);
      if (!parsed.ok()) co_return make_error(Errc::unavailable, "unreadable reply: " + parsed.error().message);
      link_->reader.consume(length);
      if (parsed->head.status >= 100 && parsed->head.status < 200 && parsed->head.status != 101) continue;
      raw_ = parsed->head.status == 101 || (method_ == "CONNECT" && parsed->head.status < 300);
      keep_ = parsed->keep_alive && !raw_;
      body_.emplace(link_->reader, parsed->framing, parsed->head.content_length.value_or(0));
      reply_ = std::move(parsed->head);
      maybe_give_back();
      co_return *reply_;
    }
  }

  Task<Result<std::size_t>> read_some(std::span<char> into) override {
    if (!reply_) {
      auto first = co_await head();
      if (!first.ok()) co_return std::move(first).error();
    }
    if (!raw_ && body_->ended()) co_return std::size_t{0};
    if (!link_) co_return lost();
    if (raw_) co_return co_await link_->reader.read_some(into);
    auto got = co_await body_->read_some(into);
    maybe_give_back();
    co_return got;
  }

  void cancel() override {
    if (link_) link_->stream->close();
  }

 private:
  static Error lost() { return make_error(Errc::unavailable, "the server closed the connection"); }
  void maybe_give_back() {
    if (link_ && pool_ && keep_ && sent_all_ && !raw_ && body_->ended()) pool_->put(std::move(link_));
  }

  LinkPtr link_;
  std::shared_ptr<Pool> pool_;
  std::string method_;
  std::optional<ReplyHead> reply_;
  std::optional<BodyReader> body_;
  bool upgrade_ = false, chunked_ = false, sent_all_ = false, keep_ = false, raw_ = false;
};

Task<Result<LinkPtr>> connect_socket(Http1Target target) {
  asio::generic::stream_protocol::endpoint endpoint;
  if (!target.unix_path.empty()) {
    if (target.unix_path.size() > 107) co_return make_error(Errc::invalid, target.unix_path + ": longer than 107 bytes");
    endpoint = asio::local::stream_protocol::endpoint(target.unix_path);
  } else {
    boost::system::error_code code;
    const auto address = asio::ip::make_address(target.host == "localhost" ? "127.0.0.1" : target.host, code);
    if (code) co_return make_error(Errc::invalid, "'" + target.host + "' is no IP address");
    endpoint = asio::ip::tcp::endpoint(address, target.port);
  }
  Socket socket(co_await asio::this_coro::executor);
  const auto [code] = co_await socket.async_connect(endpoint, asio::as_tuple(asio::use_awaitable));
  if (code) {
    const std::string where =
        target.unix_path.empty() ? target.host + ":" + std::to_string(target.port) : target.unix_path;
    co_return make_error(Errc::unavailable, "connect " + where + ": " + code.message());
  }
  ::fcntl(socket.native_handle(), F_SETFD, FD_CLOEXEC);
  const int on = 1;
  ::setsockopt(socket.native_handle(), IPPROTO_TCP, 1 /* TCP_NODELAY */, &on, sizeof on);
  const int fd = socket.native_handle();
  auto link = std::make_unique<Link>(std::make_unique<SocketStream>(std::move(socket)));
  link->fd = fd;
  co_return link;
}

Task<Result<std::unique_ptr<ClientExchange>>> begin(LinkPtr link, std::shared_ptr<Pool> pool, RequestHead head,
                                                    bool has_body) {
  auto exchange = std::make_unique<H1ClientExchange>(std::move(link), std::move(pool), head, has_body);
  CO_CHECK_OK(co_await exchange->send_head(head));
  co_return std::unique_ptr<ClientExchange>(std::move(exchange));
}

class H1Client final : public Client {
 public:
  H1Client(Http1Target target, std::size_t most, Millis connect_deadline)
      : target_(std::move(target)), connect_deadline_(connect_deadline), pool_(std::make_shared<Pool>()) {
    pool_->most = most;
  }
  ~H1Client() override {
    pool_->open = false;
    pool_->idle.clear();
  }

  Task<Result<std::unique_ptr<ClientExchange>>> open(RequestHead head, bool has_body) override {
    const auto pool = pool_;
    while (LinkPtr kept = pool->take()) {
      auto begun = co_await begin(std::move(kept), pool, head, has_body);
      if (begun.ok() || begun.error().code != Errc::unavailable) co_return begun;
    }
    auto connecting = connect_socket(target_);
    auto link = co_await within(connect_deadline_, "connect", std::move(connecting));
    if (!link.ok()) co_return std::move(link).error();
    LinkPtr fresh = std::move(*link);
    co_return co_await begin(std::move(fresh), pool, std::move(head), has_body);
  }

 private:
  Http1Target target_;
  Millis connect_deadline_;
  std::shared_ptr<Pool> pool_;
};

}  // namespace

std::unique_ptr<Client> http1_client(asio::any_io_executor, Http1Target target, std::size_t connections_max,
                                     Millis connect_deadline) {
  return std::make_unique<H1Client>(std::move(target), connections_max, connect_deadline);
}

Task<Result<std::unique_ptr<ClientExchange>>> http1_over(std::unique_ptr<ByteStream> stream, RequestHead head,
                                                         bool has_body) {
  auto link = std::make_unique<Link>(std::move(stream));
  co_return co_await begin(std::move(link), nullptr, std::move(head), has_body);
}

}  // namespace atl::rpc
