#include "edge/forward.h"

#include "base/notifier.h"

namespace atl::edge {
namespace {

using namespace asio::experimental::awaitable_operators;

constexpr std::size_t kBufferBytesMin = 16 * 1024;
constexpr std::size_t kBufferBytesMax = 256 * 1024;
constexpr Millis kFar{24 * 3600 * 1000};

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return out;
}

bool is_hop_by_hop(std::string_view lower_name) {
  for (const std::string_view name :
       {"connection", "keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authorization", "te",
        "trailer", "transfer-encoding", "upgrade", "content-length", "host", "expect", "http2-settings"})
    if (lower_name == name) return true;
  return false;
}

// Small for small messages, since clearing memory costs too; grows when a read fills it, since each
// piece of a long body costs a turn of the loop at both ends.
class PieceBuffer {
 public:
  std::span<char> space() { return bytes_; }
  std::string_view piece(std::size_t size) const { return {bytes_.data(), size}; }
  void grow_if_full(std::size_t size) {
    if (size == bytes_.size() && size < kBufferBytesMax) bytes_.resize(std::min(size * 4, kBufferBytesMax));
  }

 private:
  std::vector<char> bytes_ = std::vector<char>(kBufferBytesMin);
};

// Until cancelled: the other direction decides when all is over.
Task<void> park() {
  for (;;) co_await sleep_for(kFar);
}

struct Pump {
  rpc::Exchange& exchange;
  rpc::ClientExchange& upstream;
  ForwardOptions options;
  Forwarded result;
  std::uint64_t down = 0;  // bytes of the reply so far
};

Task<Result<std::size_t>> next_piece(Pump& pump, std::span<char> into) {
  if (pump.options.body_idle_max.count() == 0) co_return co_await pump.exchange.body().read_some(into);
  for (;;) {
    const std::uint64_t down_before = pump.down;
    auto outcome = co_await (pump.exchange.body().read_some(into) || sleep_for(pump.options.body_idle_max));
    if (outcome.index() == 0) co_return std::get<0>(std::move(outcome));
    if (pump.down == down_before) break;  // else the exchange is not idle: the other direction moves
  }
  pump.result.request_too_slow = true;
  co_return make_error(Errc::deadline, "no more of the request's body for " +
                                           std::to_string(pump.options.body_idle_max.count()) + " ms");
}

Task<void> upload(Pump& pump) {
  PieceBuffer buffer;
  std::uint64_t total = 0;
  for (;;) {
    const auto got = co_await next_piece(pump, buffer.space());
    if (!got.ok()) {
      pump.upstream.cancel();
      break;
    }
    if (*got == 0) {
      (void)co_await pump.upstream.finish_body();
      break;
    }
    total += *got;
    if (total > pump.options.request_bytes_max) {
      pump.result.request_too_large = true;
      pump.upstream.cancel();
      break;
    }
    const std::string_view bytes = buffer.piece(*got);
    // An upstream that takes no more may still answer, so its reply is what counts.
    if (!(co_await pump.upstream.write(bytes)).ok()) break;
    buffer.grow_if_full(*got);
  }
  co_await park();
}

Task<Status> copy_down(Pump& pump) {
  PieceBuffer buffer;
  for (;;) {
    const auto got = co_await pump.upstream.read_some(buffer.space());
    if (!got.ok()) co_return got.error();
    if (*got == 0) co_return co_await pump.exchange.finish();
    pump.down += *got;
    const std::string_view bytes = buffer.piece(*got);
    CO_CHECK_OK(co_await pump.exchange.write(bytes));
    buffer.grow_if_full(*got);
  }
}

Task<void> raw_up(rpc::ByteStream& client, rpc::ClientExchange& upstream) {
  PieceBuffer buffer;
  for (;;) {
    const auto got = co_await client.read_some(buffer.space());
    if (!got.ok()) {
      upstream.cancel();
      break;
    }
    if (*got == 0) {
      (void)co_await upstream.finish_body();
      break;
    }
    const std::string_view bytes = buffer.piece(*got);
    if (!(co_await upstream.write(bytes)).ok()) break;
    buffer.grow_if_full(*got);
  }
  co_await park();
}

Task<void> raw_down(rpc::ByteStream& client, rpc::ClientExchange& upstream) {
  PieceBuffer buffer;
  for (;;) {
    const auto got = co_await upstream.read_some(buffer.space());
    if (!got.ok() || *got == 0) break;
    const std::string_view bytes = buffer.piece(*got);
    if (!(co_await client.write(bytes)).ok()) break;
    buffer.grow_if_full(*got);
  }
  (void)co_await client.finish();
}

Task<void> download(Pump& pump) {
  auto head = co_await pump.upstream.head();
  if (!head.ok()) {
    pump.result.status = head.error();
    co_return;
  }
  strip_reply(*head);
  if (pump.options.edit_reply) pump.options.edit_reply(*head);
  pump.result.reply_started = true;
  if (head->content_length == 0u && pump.exchange.request().method != "HEAD") {
    pump.result.status = co_await pump.exchange.reply(std::move(*head), "");
    co_return;
  }
  pump.result.status = co_await pump.exchange.start(std::move(*head));
  if (pump.result.status.ok()) pump.result.status = co_await copy_down(pump);
}

Task<Forwarded> forward_upgrade(rpc::Exchange& exchange, rpc::ClientExchange& upstream, rpc::ReplyHead head) {
  Forwarded result;
  result.reply_started = true;
  auto client = co_await exchange.tunnel(std::move(head));
  if (!client.ok()) {
    result.status = client.error();
    co_return result;
  }
  co_await (raw_up(**client, upstream) || raw_down(**client, upstream));
  upstream.cancel();
  (*client)->close();
  co_return result;
}

class Tunnel final : public rpc::ByteStream {
 public:
  explicit Tunnel(std::unique_ptr<rpc::ClientExchange> exchange) : exchange_(std::move(exchange)) {}
  Task<Result<std::size_t>> read_some(std::span<char> into) override { return exchange_->read_some(into); }
  Task<Status> write(std::string_view bytes) override { return exchange_->write(bytes); }
  Task<Status> finish() override { return exchange_->finish_body(); }
  void close() override { exchange_->cancel(); }

 private:
  std::unique_ptr<rpc::ClientExchange> exchange_;
};

// The client may go while `upstream` is still alive, never after.
class CancelWhenGone {
 public:
  CancelWhenGone(rpc::Exchange& exchange, rpc::ClientExchange& upstream)
      : upstream_(std::make_shared<rpc::ClientExchange*>(&upstream)) {
    exchange.on_gone([upstream = upstream_] {
      if (*upstream) (*upstream)->cancel();
    });
  }
  ~CancelWhenGone() { *upstream_ = nullptr; }

 private:
  std::shared_ptr<rpc::ClientExchange*> upstream_;
};

}  // namespace

Task<Forwarded> forward(rpc::Exchange& exchange, rpc::ClientExchange& upstream, ForwardOptions options) {
  CancelWhenGone guard(exchange, upstream);
  if (!exchange.request().upgrade.empty()) {
    auto head = co_await upstream.head();
    Forwarded failed;
    if (!head.ok()) {
      failed.status = head.error();
      co_return failed;
    }
    if (head->status == 101) co_return co_await forward_upgrade(exchange, upstream, std::move(*head));
    strip_reply(*head);
    failed.reply_started = true;
    failed.status = co_await exchange.start(std::move(*head));
    Pump refusal{exchange, upstream, {}, {}, 0};
    if (failed.status.ok()) failed.status = co_await copy_down(refusal);
    co_return failed;
  }
  Pump pump{exchange, upstream, std::move(options), {}, 0};
  if (exchange.has_body())
    co_await (upload(pump) || download(pump));
  else
    co_await download(pump);
  co_return std::move(pump.result);
}

rpc::RequestHead forwarded_head(const rpc::RequestHead& request) {
  rpc::RequestHead out;
  std::string cookies;
  out.method = request.method;
  out.target = request.target;
  out.authority = request.authority;
  out.content_length = request.content_length;
  for (const auto& [name, value] : request.headers.all()) {
    const std::string plain = lower(name);
    if (is_hop_by_hop(plain) || plain.starts_with("x-atoll-")) continue;
    if (plain == "cookie")
      cookies += (cookies.empty() ? "" : "; ") + value;
    else
      out.headers.add(plain, value);
  }
  // HTTP/2 clients send one field for each; HTTP/1.1 knows a single one (RFC 9113, 8.2.3).
  if (!cookies.empty()) out.headers.add("cookie", cookies);
  return out;
}

void strip_reply(rpc::ReplyHead& head) {
  rpc::Headers kept;
  for (const auto& [name, value] : head.headers.all())
    if (!is_hop_by_hop(lower(name))) kept.add(name, value);
  head.headers = std::move(kept);
}

std::unique_ptr<rpc::ByteStream> tunnel_stream(std::unique_ptr<rpc::ClientExchange> exchange) {
  return std::make_unique<Tunnel>(std::move(exchange));
}

}  // namespace atl::edge
