#include "rpc/h1_stream.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <boost/asio/post.hpp>
#include <cstring>

namespace atl::rpc {
namespace {

constexpr std::size_t kFill = 64 * 1024;
// A writer whose socket is never full still lets others have the loop after so many bytes.
constexpr std::size_t kTurnBytes = 1u << 20;
constexpr std::size_t kRecord = 16 * 1024;  // TLS's most

Error io_error(const std::string& reason) {
  return make_error(Errc::unavailable, "connection lost: " + reason);
}

// A cancelled coroutine unwinds; to call that a lost connection would be wrong.
Task<void> throw_if_cancelled(boost::system::error_code code) {
  if (code != asio::error::operation_aborted) co_return;
  const auto state = co_await asio::this_coro::cancellation_state;
  if (state.cancelled() != asio::cancellation_type::none) throw boost::system::system_error(code);
}

void cut(SocketStream::Parts& parts, std::size_t sent) {
  for (auto& part : parts) {
    const std::size_t n = std::min(sent, part.size());
    part.remove_prefix(n);
    sent -= n;
  }
}

// Sends what the socket takes now and cuts it off `parts`. -1: nothing now. An errno else.
int send_some(int fd, SocketStream::Parts& parts, std::size_t& sent) {
  iovec vectors[3];
  std::size_t count = 0;
  for (const auto& part : parts)
    if (!part.empty()) vectors[count++] = {const_cast<char*>(part.data()), part.size()};
  msghdr message{};
  message.msg_iov = vectors;
  message.msg_iovlen = count;
  ssize_t n;
  do n = ::sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
  while (n < 0 && errno == EINTR);
  if (n < 0) return errno == EAGAIN ? -1 : errno;
  sent = static_cast<std::size_t>(n);
  cut(parts, sent);
  return 0;
}

// The next record's bytes: small parts together, since each record costs a tag and a system call. The
// same for the same parts, as a layer wants it when it is tried again.
std::string_view next_record(const SocketStream::Parts& parts) {
  if (parts[0].size() >= kRecord || (parts[1].empty() && parts[2].empty())) return parts[0];
  thread_local std::array<char, kRecord> record;
  std::size_t size = 0;
  for (const auto& part : parts) {
    const std::size_t n = std::min(part.size(), record.size() - size);
    std::memcpy(record.data() + size, part.data(), n);
    size += n;
  }
  return {record.data(), size};
}

int send_secure(SecureLayer& layer, SocketStream::Parts& parts, std::size_t& sent) {
  const ssize_t n = layer.write(next_record(parts));
  if (n < 0) return errno == EAGAIN ? -1 : errno;
  sent = static_cast<std::size_t>(n);
  cut(parts, sent);
  return 0;
}

bool all_sent(const SocketStream::Parts& parts) {
  return parts[0].empty() && parts[1].empty() && parts[2].empty();
}

}  // namespace

void Watchdog::arm(Millis limit) {
  if (!socket_) return;
  limit_ = limit;
  deadline_ = std::chrono::steady_clock::now() + limit;
  if (deadline_ < fires_) start();
}

void Watchdog::extend() {
  if (deadline_ != kNever) arm(limit_);
}

void Watchdog::retire() {
  socket_ = nullptr;
  timer_.cancel();
}

void Watchdog::start() {
  fires_ = deadline_;
  timer_.expires_at(deadline_);
  timer_.async_wait([self = shared_from_this(), round = ++round_](boost::system::error_code) {
    if (round != self->round_) return;
    self->fires_ = kNever;
    if (!self->socket_ || self->deadline_ == kNever) return;
    if (std::chrono::steady_clock::now() < self->deadline_) return self->start();
    boost::system::error_code ignored;
    self->socket_->shutdown(Socket::shutdown_both, ignored);
  });
}

SocketStream::SocketStream(Socket socket, std::unique_ptr<SecureLayer> layer)
    : socket_(std::move(socket)), layer_(std::move(layer)), stalled_(std::make_shared<Watchdog>(socket_)) {
  const int fd = socket_.native_handle();
  ::fcntl(fd, F_SETFD, FD_CLOEXEC);
  const int on = 1, idle_s = 60, interval_s = 15, probes = 4;
  if (::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0) return;
  // A peer that vanished without a word is found out within two minutes.
  ::setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
  ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof interval_s);
  ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
}

ssize_t SocketStream::read_now(std::span<char> into) {
  if (!socket_.is_open()) {
    errno = EBADF;
    return -1;
  }
  if (layer_) return layer_->read(into);
  return ::recv(socket_.native_handle(), into.data(), into.size(), MSG_DONTWAIT);
}

int SocketStream::send_now(Parts& parts, std::size_t& sent) {
  if (!socket_.is_open()) return EBADF;
  return layer_ ? send_secure(*layer_, parts, sent) : send_some(socket_.native_handle(), parts, sent);
}

Task<Result<std::size_t>> SocketStream::read_secure(std::span<char> into) {
  for (;;) {
    const ssize_t n = read_now(into);
    if (n >= 0) co_return static_cast<std::size_t>(n);
    if (errno != EAGAIN) co_return io_error(std::strerror(errno));
    const auto [code] = co_await socket_.async_wait(Socket::wait_read, asio::as_tuple(asio::use_awaitable));
    if (!code) continue;
    co_await throw_if_cancelled(code);
    co_return io_error(code.message());
  }
}

Task<Result<std::size_t>> SocketStream::read_some(std::span<char> into) {
  if (layer_) co_return co_await read_secure(into);
  const auto [code, n] = co_await socket_.async_read_some(asio::buffer(into.data(), into.size()),
                                                          asio::as_tuple(asio::use_awaitable));
  if (!code) co_return n;
  if (code == asio::error::eof) co_return std::size_t{0};
  co_await throw_if_cancelled(code);
  co_return io_error(code.message());
}

Task<Status> SocketStream::write(std::string_view bytes) {
  const Parts parts{bytes, {}, {}};
  return write_parts(parts, Millis(0));
}

Task<Status> SocketStream::write_parts(Parts parts, Millis stall) {
  const auto turn = co_await turn_.take();
  if (broken_ || !socket_.is_open()) co_return io_error("it was closed or cut short before");
  // Also when this coroutine is cancelled between two pieces.
  struct Cut {
    SocketStream& stream;
    bool whole = false;
    ~Cut() {
      stream.stalled_->disarm();
      if (!whole) stream.broken_ = true;
    }
  } cut{*this};
  while (!all_sent(parts)) {
    std::size_t sent = 0;
    const int error = send_now(parts, sent);
    if (error > 0) co_return io_error(std::strerror(error));
    sent_in_turn_ += sent;
    if (error == 0) {
      stalled_->extend();
      continue;
    }
    if (stall.count() > 0) stalled_->arm(stall);
    sent_in_turn_ = 0;
    const auto [code] = co_await socket_.async_wait(Socket::wait_write, asio::as_tuple(asio::use_awaitable));
    if (code) {
      co_await throw_if_cancelled(code);
      co_return io_error(code.message());
    }
  }
  cut.whole = true;
  if (sent_in_turn_ >= kTurnBytes) {
    sent_in_turn_ = 0;
    co_await asio::post(socket_.get_executor(), asio::use_awaitable);
  }
  co_return ok();
}

Task<Status> SocketStream::finish() {
  boost::system::error_code code;
  if (layer_ && socket_.is_open() && !broken_) layer_->say_end();
  socket_.shutdown(Socket::shutdown_send, code);
  co_return ok();
}

void SocketStream::close() {
  stalled_->retire();
  boost::system::error_code ignored;
  if (layer_ && socket_.is_open() && !broken_) layer_->say_end();
  socket_.close(ignored);
}

void SocketStream::abort() {
  boost::system::error_code ignored;
  if (socket_.is_open()) socket_.set_option(asio::socket_base::linger(true, 0), ignored);
  broken_ = true;
  close();
}

void SocketStream::shut() {
  boost::system::error_code ignored;
  socket_.shutdown(Socket::shutdown_both, ignored);
}

Task<bool> SocketStream::wait_readable() {
  if (has_unread()) co_return socket_.is_open();
  const auto [code] = co_await socket_.async_wait(Socket::wait_read, asio::as_tuple(asio::use_awaitable));
  co_return !code;
}

void BufferedReader::consume(std::size_t n) {
  begin_ += n;
  if (begin_ == end_) begin_ = end_ = 0;
}

void BufferedReader::make_room(std::size_t bytes) {
  if (capacity_ - end_ >= bytes) return;
  const std::size_t size = end_ - begin_;
  if (begin_ > 0 && capacity_ - size >= bytes) {
    std::memmove(data_.get(), data_.get() + begin_, size);
  } else {
    const std::size_t capacity = std::max(capacity_ * 2, size + bytes);
    auto larger = std::make_unique_for_overwrite<char[]>(capacity);
    if (size > 0) std::memcpy(larger.get(), data_.get() + begin_, size);
    data_ = std::move(larger);
    capacity_ = capacity;
  }
  begin_ = 0;
  end_ = size;
}

Task<Result<bool>> BufferedReader::fill() {
  make_room(kFill);
  const std::span<char> room(data_.get() + end_, capacity_ - end_);
  auto got = co_await source_.read_some(room);
  if (!got.ok()) co_return std::move(got).error();
  end_ += *got;
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

void BufferedReader::push(std::string_view bytes) {
  make_room(bytes.size());
  std::memcpy(data_.get() + end_, bytes.data(), bytes.size());
  end_ += bytes.size();
}

void BufferedReader::release_if_empty() {
  if (begin_ != end_) return;
  data_.reset();
  capacity_ = begin_ = end_ = 0;
}

}  // namespace atl::rpc
