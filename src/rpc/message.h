#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/task.h"

namespace atl::rpc {

// Header fields in order of arrival. Look-ups ignore case; names from HTTP/2 are lower case.
class Headers {
 public:
  void add(std::string_view name, std::string_view value);
  void set(std::string_view name, std::string_view value);  // replaces all of that name
  void erase(std::string_view name);
  // First value of that name; nullopt where absent. The view lives as long as the Headers.
  std::optional<std::string_view> get(std::string_view name) const;
  std::string_view get_or(std::string_view name, std::string_view otherwise) const;
  std::size_t count(std::string_view name) const;
  const std::vector<std::pair<std::string, std::string>>& all() const { return fields_; }

 private:
  std::vector<std::pair<std::string, std::string>> fields_;
};

bool iequals(std::string_view a, std::string_view b);

// `target` is the raw path and query as sent ("/a%2Fb?x=1"); for CONNECT it is empty and
// `authority` names the end ("127.0.0.1:8080").
struct RequestHead {
  std::string method;
  std::string target;
  std::string authority;  // Host or :authority
  Headers headers;        // without Host, connection and transfer-encoding fields
  std::optional<std::uint64_t> content_length;
  std::string upgrade;  // HTTP/1.1 Upgrade token, lower case, "" where none ("websocket")
};

struct ReplyHead {
  int status = 200;
  Headers headers;
  // Set: the body has exactly this length. Unset: chunked on HTTP/1.1.
  std::optional<std::uint64_t> content_length;
};

// Where bytes come from. read_some waits for at least one byte; 0 = the end.
class ByteSource {
 public:
  virtual ~ByteSource() = default;
  virtual Task<Result<std::size_t>> read_some(std::span<char> into) = 0;
};

// Where bytes go. write returns when the bytes were taken (back-pressure), or the peer is gone.
class ByteSink {
 public:
  virtual ~ByteSink() = default;
  virtual Task<Status> write(std::string_view bytes) = 0;
  virtual Task<Status> finish() = 0;  // no more bytes this way
};

// Both, for tunnels and upgrades. close() ends both ways at once; so does destruction.
class ByteStream : public ByteSource, public ByteSink {
 public:
  virtual void close() = 0;
};

// The server's side of one request. Lives until the handler returns; a handler that returns
// without a reply makes the server answer 500.
class Exchange {
 public:
  virtual ~Exchange() = default;
  virtual const RequestHead& request() const = 0;
  virtual ByteSource& body() = 0;
  // False: the request ended with its head (body() is empty). True where that is not known.
  virtual bool has_body() const { return true; }

  // start, then write as often as wanted, then finish. `start` sends the head at once (flushed).
  // Errc::unavailable from any of them = the client is gone.
  virtual Task<Status> start(ReplyHead head) = 0;
  virtual Task<Status> write(std::string_view bytes) = 0;
  virtual Task<Status> finish() = 0;

  // The whole reply at once, with Content-Length (0 for empty bodies; none with 204 and 304, which have no
  // body).
  virtual Task<Status> reply(ReplyHead head, std::string body) = 0;

  // For CONNECT and Upgrade: sends the head (200 or 101) and gives the raw bytes both ways.
  // The stream must not outlive the handler.
  virtual Task<Result<ByteStream*>> tunnel(ReplyHead head) = 0;

  // Called once, on the loop, when the client goes away before the reply is finished (reset,
  // closed connection). Replaces an earlier one. Not called after finish or when the handler ended.
  virtual void on_gone(std::function<void()> callback) = 0;
  virtual bool gone() const = 0;

  // The client's address ("192.0.2.1", "2001:db8::1"), "" where there is none (UNIX sockets, HTTP/2).
  virtual std::string peer() const { return {}; }
};

using Handler = std::function<Task<void>(Exchange&)>;

// The client's side of one request.
class ClientExchange : public ByteSource {
 public:
  // Destruction before the end cancels (RST_STREAM; on HTTP/1.1 the connection is closed).
  virtual Task<Status> write(std::string_view bytes) = 0;
  virtual Task<Status> finish_body() = 0;
  // Waits for the reply's head. Informational replies are skipped, except 101.
  virtual Task<Result<ReplyHead>> head() = 0;
  // read_some (from ByteSource) gives the reply's body; with CONNECT or Upgrade the raw bytes.
  virtual void cancel() = 0;
};

class Client {
 public:
  virtual ~Client() = default;
  // Opens an exchange. `has_body` false ends the request with its head. The request's
  // content_length, when set, is sent. Errc::unavailable: the connection is gone.
  virtual Task<Result<std::unique_ptr<ClientExchange>>> open(RequestHead head, bool has_body) = 0;
};

// Reads the whole of a source; more than `limit` bytes is Errc::too_large.
Task<Result<std::string>> read_all(ByteSource& source, std::size_t limit);

struct Reply {
  ReplyHead head;
  std::string body;
};
// One whole request and reply, the reply's body at most `limit` bytes, within `deadline`.
Task<Result<Reply>> call(Client& client, RequestHead head, std::string body, std::size_t limit,
                         Millis deadline);

}  // namespace atl::rpc
