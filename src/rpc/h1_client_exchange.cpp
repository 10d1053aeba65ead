#include "rpc/h1_client_exchange.h"

namespace atl::rpc {
namespace {

constexpr std::size_t kReplyHeadMax = 128 * 1024;
constexpr int kInformationalMax = 32;  // heads before the reply's own
// Parts of a stream that does not gather are joined up to this size, so that they are one packet.
constexpr std::size_t kJoinMax = 16 * 1024;

Error lost() {
  return make_error(Errc::unavailable, "the server closed the connection before the end of its reply");
}
Error was_cancelled() {
  return make_error(Errc::unavailable, "the request was cancelled");
}

}  // namespace

H1ClientExchange::H1ClientExchange(H1LinkPtr link, std::shared_ptr<H1Pool> pool, const RequestHead& head,
                                   bool has_body)
    : link_(std::move(link)),
      pool_(std::move(pool)),
      method_(head.method),
      has_body_(has_body),
      chunked_(has_body && !head.content_length && head.method != "CONNECT"),
      upgrade_(!head.upgrade.empty()) {
  if (has_body) left_ = head.content_length;
}

Task<Status> H1ClientExchange::begin(RequestHead head) {
  // A length that no body follows would make the server wait for one.
  if (!has_body_ && head.content_length) head.content_length = 0;
  const Wire wire{.chunked = chunked_, .close = !pool_ && !upgrade_ && method_ != "CONNECT"};
  CO_TRY(head_text_, request_text(head, wire));
  if (has_body_ && method_ != "CONNECT") co_return ok();
  sent_all_ = true;
  Status sent = co_await send_pending();
  if (!sent.ok() && link_ && link_->reused) sent = co_await start_again();
  co_return sent;
}

Task<Status> H1ClientExchange::send(SocketStream::Parts parts) {
  const auto turn = co_await turn_.take();
  if (cancelled_) co_return was_cancelled();
  if (!link_) co_return lost();
  if (link_->socket) co_return co_await link_->socket->write_parts(parts, Millis(0));
  if (parts[0].size() + parts[1].size() + parts[2].size() <= kJoinMax) {
    const std::string joined = std::string(parts[0]).append(parts[1]).append(parts[2]);
    co_return co_await link_->stream->write(joined);
  }
  for (const std::string_view part : parts)
    if (!part.empty()) CO_CHECK_OK(co_await link_->stream->write(part));
  co_return ok();
}

Task<Status> H1ClientExchange::send_pending() {
  if (std::exchange(head_sent_, true)) co_return ok();
  const SocketStream::Parts parts{head_text_, {}, {}};
  co_return co_await send(parts);
}

Task<Status> H1ClientExchange::write(std::string_view bytes) {
  if (bytes.empty()) co_return ok();
  if (raw_) {
    const SocketStream::Parts parts{bytes, {}, {}};
    co_return co_await send(parts);
  }
  if (!has_body_ || sent_all_)
    co_return make_error(Errc::internal, "bytes written after the end of a request's body");
  if (left_ && bytes.size() > *left_)
    co_return make_error(Errc::internal, "a request's body longer than its Content-Length");
  if (left_) *left_ -= bytes.size();
  std::string prefix;
  if (!std::exchange(head_sent_, true)) prefix = head_text_;
  if (chunked_) prefix += chunk_prefix(bytes.size());
  const SocketStream::Parts parts{prefix, bytes, chunked_ ? "\r\n" : ""};
  co_return co_await send(parts);
}

Task<Status> H1ClientExchange::finish_body() {
  if (raw_) {
    if (cancelled_) co_return was_cancelled();
    if (!link_) co_return lost();
    co_return co_await link_->stream->finish();
  }
  if (sent_all_) co_return ok();
  if (left_.value_or(0) > 0)
    co_return make_error(Errc::internal, "a request's body shorter than its Content-Length");
  std::string last;
  if (!std::exchange(head_sent_, true)) last = head_text_;
  if (chunked_) last += "0\r\n\r\n";
  if (!last.empty()) {
    const SocketStream::Parts parts{last, {}, {}};
    CO_CHECK_OK(co_await send(parts));
  }
  sent_all_ = true;
  maybe_give_back();
  co_return ok();
}

// Once, for a request without a body on a kept link that the server closed meanwhile.
Task<Status> H1ClientExchange::start_again() {
  CO_TRY(link_, co_await pool_->connect());
  if (cancelled_) co_return was_cancelled();
  head_sent_ = false;
  co_return co_await send_pending();
}

Task<Result<ReplyHead>> H1ClientExchange::head() {
  if (reply_) co_return *reply_;
  if (cancelled_) co_return was_cancelled();
  CO_CHECK_OK(co_await send_pending());
  auto got = co_await read_head();
  const bool again = !got.ok() && got.error().code == Errc::unavailable && !cancelled_ && link_ &&
                     link_->reused && !has_body_ && link_->reader.buffered().empty();
  if (!again) co_return got;
  CO_CHECK_OK(co_await start_again());
  co_return co_await read_head();
}

Task<Result<ReplyHead>> H1ClientExchange::read_head() {
  for (int i = 0; i < kInformationalMax; ++i) {
    if (cancelled_) co_return was_cancelled();
    if (!link_) co_return lost();
    const auto length = co_await await_head(link_->reader, kReplyHeadMax);
    if (!length.ok()) co_return make_error(Errc::unavailable, "no reply: " + length.error().message);
    if (*length == 0) co_return lost();
    auto parsed = parse_reply_head(link_->reader.buffered().substr(0, *length), method_);
    if (!parsed.ok()) {
      keep_ = link_->reused = false;
      co_return make_error(Errc::unavailable, "unreadable reply: " + parsed.error().message);
    }
    link_->reader.consume(*length);
    link_->reused = false;
    const int status = parsed->head.status;
    if (status >= 100 && status < 200 && status != 101) continue;
    raw_ = (status == 101 && upgrade_) || (method_ == "CONNECT" && status / 100 == 2);
    if (status == 101 && !upgrade_)
      co_return make_error(Errc::unavailable, "the server switched protocols unasked");
    keep_ = parsed->keep_alive && !raw_;
    body_.emplace(link_->reader, parsed->framing, parsed->head.content_length.value_or(0));
    reply_ = std::move(parsed->head);
    maybe_give_back();
    co_return *reply_;
  }
  co_return make_error(Errc::unavailable,
                       "the server sent more than 32 informational heads before its reply");
}

Task<Result<std::size_t>> H1ClientExchange::read_some(std::span<char> into) {
  if (!reply_) {
    auto first = co_await head();
    if (!first.ok()) co_return std::move(first).error();
  }
  if (!raw_ && body_->ended()) co_return std::size_t{0};
  if (cancelled_) co_return was_cancelled();
  if (!link_) co_return lost();
  if (raw_) co_return co_await link_->reader.read_some(into);
  auto got = co_await body_->read_some(into);
  if (cancelled_) co_return was_cancelled();
  if (!got.ok()) {
    keep_ = false;
    co_return make_error(Errc::unavailable, got.error().message);
  }
  maybe_give_back();
  co_return got;
}

void H1ClientExchange::cancel() {
  cancelled_ = true;
  if (link_) link_->stream->close();
}

void H1ClientExchange::maybe_give_back() {
  if (link_ && link_->socket && pool_ && keep_ && sent_all_ && !raw_ && !cancelled_ && body_ &&
      body_->ended())
    pool_->put(std::move(link_));
}

}  // namespace atl::rpc
