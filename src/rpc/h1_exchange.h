#pragma once
#include "rpc/h1_body.h"

namespace atl::rpc {

// What one accepted connection and the exchange on it share.
struct H1Io {
  H1Io(Socket socket, std::unique_ptr<SecureLayer> layer, Http1Limits l);

  Http1Limits limits;
  SocketStream stream;
  BufferedReader reader;
  std::shared_ptr<Watchdog> reading;  // shuts the socket when a peer sends too slowly
  std::string peer;
  bool stopping = false;  // the server ends: no further request on this connection
};

class H1Exchange final : public Exchange {
 public:
  H1Exchange(std::shared_ptr<H1Io> io, ParsedRequest request);
  ~H1Exchange() override;

  const RequestHead& request() const override { return request_.head; }
  ByteSource& body() override { return body_; }
  bool has_body() const override { return request_.framing != Framing::none; }
  std::string peer() const override { return io_->peer; }

  Task<Status> start(ReplyHead head) override;
  Task<Status> write(std::string_view bytes) override;
  Task<Status> finish() override;
  Task<Status> reply(ReplyHead head, std::string body) override;
  Task<Result<ByteStream*>> tunnel(ReplyHead head) override;
  void on_gone(std::function<void()> callback) override;
  bool gone() const override { return gone_; }

  // For the connection, when the handler has returned.
  bool fresh() const { return state_ == State::fresh; }  // nothing was sent
  bool complete() const { return state_ == State::finished; }
  bool tunnelled() const { return state_ == State::tunnel; }
  bool keeps_alive() const { return complete() && !gone_ && !closes(); }
  bool awaits_continue() const { return request_.expects_continue; }
  BodyReader& raw_body() { return body_.reader; }

 private:
  enum class State : std::uint8_t { fresh, started, finished, tunnel };

  struct Body final : ByteSource {
    Body(H1Exchange& o, BufferedReader& r, Framing framing, std::uint64_t length)
        : owner(o), reader(r, framing, length) {}
    Task<Result<std::size_t>> read_some(std::span<char> into) override;
    H1Exchange& owner;
    BodyReader reader;
  };
  struct Tunnel final : ByteStream {
    explicit Tunnel(H1Exchange& o) : owner(o) {}
    Task<Result<std::size_t>> read_some(std::span<char> into) override;
    Task<Status> write(std::string_view bytes) override { return owner.send(bytes, {}, {}); }
    Task<Status> finish() override { return owner.io_->stream.finish(); }
    void close() override { owner.io_->stream.shut(); }
    H1Exchange& owner;
  };
  // Waits for the client's end beside the handler; outlives the exchange for a moment.
  struct Monitor {
    H1Exchange* exchange;
    std::size_t early_bytes = 0;
  };

  static bool bodyless_status(int status) { return status == 204 || status == 304 || status < 200; }
  bool bodyless(int status) const { return request_.head.method == "HEAD" || bodyless_status(status); }
  bool closes() const;
  Task<Status> send(std::string_view a, std::string_view b, std::string_view c);
  Task<Status> send_continue();
  void lost();
  void watch();
  void stop_watching();
  static bool look_for_end(H1Io& io, Monitor& monitor);
  static void wait_for_end(std::shared_ptr<H1Io> io, std::shared_ptr<Monitor> monitor);

  std::shared_ptr<H1Io> io_;
  ParsedRequest request_;
  Body body_;
  Tunnel tunnel_;
  std::shared_ptr<Monitor> monitor_;
  std::function<void()> on_gone_;
  std::optional<std::uint64_t> left_;  // of a reply with a length
  State state_ = State::fresh;
  bool no_body_ = false, chunked_ = false, close_ = false, gone_ = false;
};

}  // namespace atl::rpc
