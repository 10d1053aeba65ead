#pragma once
#include <memory>
#include <string>

#include "rpc/http1.h"
#include "rpc/secure_layer.h"
#include "tls/identity.h"

struct ssl_ctx_st;

namespace atl::tls {

// What TLS connections are made with: one identity at a time, replaced while connections go on. TLS 1.2
// and later, ALPN h2 and http/1.1, no renegotiation, no client certificates, no early data. Writes go
// through write(2), so the process must ignore SIGPIPE.
class ServerContext {
 public:
  explicit ServerContext(std::string domain) : domain_(std::move(domain)) {}

  // New connections get this identity from now on; those that are there keep theirs. On failure the old
  // one stays.
  Status use(const Identity& identity, std::chrono::system_clock::time_point now);
  bool ready() const { return current_ != nullptr; }
  const std::string& domain() const { return domain_; }
  std::shared_ptr<ssl_ctx_st> current() const { return current_; }

 private:
  std::string domain_;
  std::shared_ptr<ssl_ctx_st> current_;
};

struct Accepted {
  std::unique_ptr<rpc::SecureLayer> layer;
  bool http2 = false;  // what ALPN chose
};
// The server's handshake on a connected socket, which must outlive the layer. Errc::deadline when the
// peer is too slow, Errc::invalid when it does not speak TLS as we do. `ticket` goes with the layer, so
// that its owner sees how many there are.
Task<Result<Accepted>> accept(rpc::Socket& socket, const ServerContext& context, Millis deadline,
                              std::shared_ptr<void> ticket = nullptr);

}  // namespace atl::tls
