#pragma once
#include <array>

#include "base/notifier.h"
#include "rpc/http1.h"
#include "rpc/message.h"
#include "rpc/secure_layer.h"

namespace atl::rpc {

// One writer of a stream at a time: a second coroutine (100 Continue beside a reply's head, a head
// beside its body) waits. It must outlive its holders.
class WriteTurn {
 public:
  class Guard {
   public:
    explicit Guard(WriteTurn* turn) : turn_(turn) {}
    Guard(Guard&& other) noexcept : turn_(std::exchange(other.turn_, nullptr)) {}
    Guard& operator=(Guard&&) = delete;
    ~Guard() {
      if (!turn_) return;
      turn_->held_ = false;
      turn_->freed_.notify();
    }

   private:
    WriteTurn* turn_;
  };
  // Ends when the holder's write does, which has its own bound.
  Task<Guard> take() {
    while (held_) co_await freed_.wait(kLookAgain);
    held_ = true;
    co_return Guard(this);
  }

 private:
  static constexpr Millis kLookAgain{60'000};
  Notifier freed_;
  bool held_ = false;
};

// Shuts a socket both ways when a time passes without disarm(): whoever reads or writes then gets
// its error. Re-arming is cheap, because the timer is moved only when it would come too late.
class Watchdog : public std::enable_shared_from_this<Watchdog> {
 public:
  explicit Watchdog(Socket& socket) : socket_(&socket), timer_(socket.get_executor()) {}
  void arm(Millis limit);
  void extend();  // counts anew, where it is armed
  void disarm() { deadline_ = kNever; }
  void retire();  // the socket is about to end

 private:
  using TimePoint = std::chrono::steady_clock::time_point;
  static constexpr TimePoint kNever = TimePoint::max();
  void start();

  Socket* socket_;
  asio::steady_timer timer_;
  Millis limit_{0};
  TimePoint deadline_ = kNever;
  TimePoint fires_ = kNever;  // kNever: no wait is pending
  std::uint64_t round_ = 0;   // a wait of an earlier round means nothing
};

// A connected socket, with TLS on it where there is a layer, as a byte stream. Writes are tried at once
// and wait only for a full socket.
class SocketStream final : public ByteStream {
 public:
  using Parts = std::array<std::string_view, 3>;

  // Sets TCP_NODELAY and keep-alive probes where the socket is TCP, and close-on-exec.
  explicit SocketStream(Socket socket, std::unique_ptr<SecureLayer> layer = nullptr);
  ~SocketStream() override { close(); }

  Task<Result<std::size_t>> read_some(std::span<char> into) override;
  Task<Status> write(std::string_view bytes) override;
  // All parts, gathered. `stall` bounds the time without any progress (0: no bound).
  Task<Status> write_parts(Parts parts, Millis stall);
  Task<Status> finish() override;
  void close() override;
  // The peer sees a reset, not an end, so that a cut body is not taken for a whole one.
  void abort();
  void shut();  // ends both ways; waits of others end with an error or the end
  // Returns when there is something to read, the end included. False: the socket is closed.
  Task<bool> wait_readable();
  // Like recv without waiting: -1 and errno EAGAIN = nothing now.
  ssize_t read_now(std::span<char> into);
  // True: read_now has something though the socket may not become readable.
  bool has_unread() { return layer_ && layer_->has_unread(); }
  Socket& socket() { return socket_; }

 private:
  Task<Result<std::size_t>> read_secure(std::span<char> into);
  int send_now(Parts& parts, std::size_t& sent);

  Socket socket_;
  std::unique_ptr<SecureLayer> layer_;  // holds the descriptor's number: not to be used once that is closed
  std::shared_ptr<Watchdog> stalled_;
  WriteTurn turn_;
  std::size_t sent_in_turn_ = 0;
  bool broken_ = false;  // a write was cut short: what follows would be read wrongly
};

// Bytes of a stream with those that were read too many kept for the next reader.
class BufferedReader {
 public:
  explicit BufferedReader(ByteSource& source) : source_(source) {}
  // The buffered bytes; they move at the next call that fills.
  std::string_view buffered() const { return {data_.get() + begin_, end_ - begin_}; }
  void consume(std::size_t n);
  // Reads at least one more byte into the buffer; false at the end.
  Task<Result<bool>> fill();
  // Buffered bytes first, else straight from the source into the caller's memory.
  Task<Result<std::size_t>> read_some(std::span<char> into);
  // Early bytes of a next request. Not while another coroutine fills.
  void push(std::string_view bytes);
  // An idle connection holds no memory.
  void release_if_empty();

 private:
  void make_room(std::size_t bytes);

  ByteSource& source_;
  std::unique_ptr<char[]> data_;
  std::size_t capacity_ = 0, begin_ = 0, end_ = 0;
};

}  // namespace atl::rpc
