#pragma once
#include <boost/asio/generic/stream_protocol.hpp>

#include "rpc/message.h"
#include "rpc/secure_layer.h"

namespace atl::rpc {

// One socket type for TCP and UNIX sockets, so that the HTTP code is compiled once.
using Socket = asio::generic::stream_protocol::socket;

struct Http1Limits {
  std::size_t head_bytes_max = 64 * 1024;  // request line and fields together
  std::size_t target_bytes_max = 16 * 1024;
  Millis head_deadline{10'000};        // from the first byte of a request to its end of head
  Millis idle_deadline{620'000};       // between requests of one connection
  Millis write_deadline{75'000};       // one write that makes no progress at all
  std::size_t connections_max = 4096;  // further ones are answered 503 and closed
};

// HTTP/1.1 server: keep-alive, chunked both ways, Expect: 100-continue, HEAD, Upgrade. Refuses,
// with 400 and the connection closed, whatever two parsers could read in two ways (both
// Content-Length and Transfer-Encoding, differing lengths, obsolete folding, bare CR or LF, NUL).
class Http1Server {
 public:
  Http1Server(asio::any_io_executor executor, Http1Limits limits, Handler handler);
  ~Http1Server();

  // `address`:`port` (0 = any; the reply is the port in use), or a UNIX socket's path, which
  // replaces a socket left there by an earlier run, with these permission bits.
  Result<std::uint16_t> listen_tcp(const std::string& address, std::uint16_t port);
  Status listen_unix(const std::string& path, unsigned mode);
  // An accepted, connected socket from elsewhere, with TLS on it where there is a layer.
  void serve(Socket socket, std::unique_ptr<SecureLayer> layer = nullptr);
  // Stops accepting, closes idle connections, waits up to `grace` for the others, then closes them.
  Task<void> stop(Millis grace);

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

struct Http1Target {
  std::string unix_path;  // either this
  std::string host;       // or an address and port
  std::uint16_t port = 0;
};

// HTTP/1.1 client with a pool of at most `connections_max` kept connections to one target.
std::unique_ptr<Client> http1_client(asio::any_io_executor executor, Http1Target target,
                                     std::size_t connections_max, Millis connect_deadline);

// A client exchange over one stream already open (a tunnel into a sandbox): one request only.
Task<Result<std::unique_ptr<ClientExchange>>> http1_over(std::unique_ptr<ByteStream> stream, RequestHead head,
                                                         bool has_body);

}  // namespace atl::rpc
