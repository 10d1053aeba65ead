#pragma once
#include "rpc/h1_body.h"

namespace atl::rpc {

// A stream to a server, with what was read too many from it.
struct H1Link {
  explicit H1Link(std::unique_ptr<ByteStream> s) : stream(std::move(s)), reader(*stream) {}
  std::unique_ptr<ByteStream> stream;
  BufferedReader reader;
  SocketStream* socket = nullptr;  // the stream, where it is a socket: it can be kept, and gathers writes
  bool reused = false;             // the server may have closed it while it was kept
  std::chrono::steady_clock::time_point kept_since{};
};
using H1LinkPtr = std::unique_ptr<H1Link>;

// Where links come from and go back to. Exchanges hold it, so it outlives its client.
class H1Pool {
 public:
  H1Pool(Http1Target target, std::size_t most, Millis connect_deadline)
      : target_(std::move(target)), most_(most), connect_deadline_(connect_deadline) {}
  void put(H1LinkPtr link);
  // A kept link that still seems open, or nullptr.
  H1LinkPtr take();
  Task<Result<H1LinkPtr>> connect();
  void close();

 private:
  Http1Target target_;
  std::size_t most_;
  Millis connect_deadline_;
  bool open_ = true;
  std::vector<H1LinkPtr> idle_;
};

class H1ClientExchange final : public ClientExchange {
 public:
  // `pool` is nullptr for a stream that serves this one request.
  H1ClientExchange(H1LinkPtr link, std::shared_ptr<H1Pool> pool, const RequestHead& head, bool has_body);

  // The head's text; a request without a body is sent at once, else head and first bytes leave together.
  Task<Status> begin(RequestHead head);

  Task<Status> write(std::string_view bytes) override;
  Task<Status> finish_body() override;
  Task<Result<ReplyHead>> head() override;
  Task<Result<std::size_t>> read_some(std::span<char> into) override;
  void cancel() override;

 private:
  Task<Status> send(SocketStream::Parts parts);
  Task<Status> send_pending();
  Task<Result<ReplyHead>> read_head();
  Task<Status> start_again();
  void maybe_give_back();

  H1LinkPtr link_;
  std::shared_ptr<H1Pool> pool_;
  WriteTurn turn_;  // the head (by head()) and the body (by write()) have two coroutines
  std::string method_;
  std::string head_text_;  // until the reply has begun
  std::optional<ReplyHead> reply_;
  std::optional<BodyReader> body_;
  std::optional<std::uint64_t> left_;  // of a request's body with a length
  bool has_body_, chunked_, upgrade_;
  bool head_sent_ = false, sent_all_ = false;
  bool keep_ = false, raw_ = false, cancelled_ = false;
};

}  // namespace atl::rpc
