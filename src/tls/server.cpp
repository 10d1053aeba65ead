#include "tls/server.h"

#include "base/deadline.h"
#include "tls/openssl.h"
#include "tls/pem.h"

namespace atl::tls {
namespace {

// Wire form: a length before each name. The first that the client offers too is taken.
constexpr unsigned char kProtocols[] = "\x02h2\x08http/1.1";
constexpr unsigned kProtocolsSize = sizeof kProtocols - 1;
constexpr std::size_t kRecord = 16 * 1024;  // a record's most; one write makes one

// A client that offers nothing of ours is told so (RFC 7301), not answered in a protocol it may not speak.
int choose_protocol(SSL*, const unsigned char** out, unsigned char* size, const unsigned char* offered,
                    unsigned offered_size, void*) {
  unsigned char* chosen = nullptr;
  const int found = SSL_select_next_proto(&chosen, size, kProtocols, kProtocolsSize, offered, offered_size);
  *out = chosen;
  return found == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

Result<std::shared_ptr<SSL_CTX>> make_context(const ParsedIdentity& identity) {
  std::shared_ptr<SSL_CTX> context(SSL_CTX_new(TLS_server_method()), SSL_CTX_free);
  SSL_CTX* const raw = context.get();
  if (!raw) return openssl_error(Errc::internal, "SSL_CTX_new");
  SSL_CTX_set_min_proto_version(raw, TLS1_2_VERSION);
  SSL_CTX_set_options(raw, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE |
                               SSL_OP_PRIORITIZE_CHACHA);
  SSL_CTX_set_mode(raw, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                            SSL_MODE_RELEASE_BUFFERS);
  // Of TLS 1.2 only forward-secret ciphers with authentication (RFC 9113, appendix A, leaves no others to h2).
  const bool good = SSL_CTX_set_cipher_list(raw, "ECDHE+AESGCM:ECDHE+CHACHA20") == 1 &&
                    SSL_CTX_set1_groups_list(raw, "X25519:P-256:P-384") == 1 &&
                    SSL_CTX_use_certificate(raw, identity.chain.front().get()) == 1 &&
                    SSL_CTX_use_PrivateKey(raw, identity.key.get()) == 1;
  if (!good) return openssl_error(Errc::invalid, "the certificate or key cannot be used");
  for (std::size_t i = 1; i < identity.chain.size(); ++i)
    if (SSL_CTX_add1_chain_cert(raw, identity.chain[i].get()) != 1)
      return openssl_error(Errc::invalid, "a certificate of the chain cannot be used");
  SSL_CTX_set_alpn_select_cb(raw, choose_protocol, nullptr);
  // Resumption by tickets alone: their keys live in this context, and nothing is kept for each client.
  SSL_CTX_set_session_cache_mode(raw, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_max_early_data(raw, 0);
  return context;
}

class Layer final : public rpc::SecureLayer {
 public:
  Layer(SslPtr ssl, std::shared_ptr<void> ticket) : ticket_(std::move(ticket)), ssl_(std::move(ssl)) {
    // One record at a time: OpenSSL would else go through a stream of them that carries nothing.
    SSL_clear_mode(ssl_.get(), SSL_MODE_AUTO_RETRY);
    SSL_set_msg_callback(ssl_.get(), count_message);
    SSL_set_msg_callback_arg(ssl_.get(), &messages_);
  }

  ssize_t read(std::span<char> into) override {
    if (broken_) return failed(SSL_ERROR_SSL);
    std::size_t total = 0;
    while (total < into.size()) {
      ERR_clear_error();
      std::size_t n = 0;
      const unsigned before = messages_;
      const int done = SSL_read_ex(ssl_.get(), into.data() + total, into.size() - total, &n);
      if (messages_ > kMessagesMax) return failed(SSL_ERROR_SSL);
      if (done == 1) total += n;
      else if (messages_ == before) return ended_read(total, done);
    }
    starved_ = false;
    return static_cast<ssize_t>(total);
  }

  ssize_t write(std::string_view bytes) override {
    ERR_clear_error();
    std::size_t n = 0;
    const int done = SSL_write_ex(ssl_.get(), bytes.data(), std::min(bytes.size(), kRecord), &n);
    if (done == 1) return static_cast<ssize_t>(n);
    return failed(SSL_get_error(ssl_.get(), done));
  }

  bool has_unread() override { return ended_ || (!starved_ && SSL_has_pending(ssl_.get()) == 1); }

  void say_end() override {
    if (broken_ || said_end_) return;
    said_end_ = true;
    ERR_clear_error();
    SSL_shutdown(ssl_.get());
    ERR_clear_error();
  }

 private:
  // Of TLS 1.3 after the handshake: a client changes its keys after gigabytes, not thousands of times.
  static constexpr unsigned kMessagesMax = 64;
  static void count_message(int sent, int, int type, const void*, std::size_t, SSL*, void* count) {
    if (!sent && type == SSL3_RT_HANDSHAKE) ++*static_cast<unsigned*>(count);
  }

  ssize_t ended_read(std::size_t total, int done) {
    const int why = SSL_get_error(ssl_.get(), done);
    starved_ = why == SSL_ERROR_WANT_READ;
    if (!starved_) ended_ = true;  // the next read finds the same again
    if (total > 0) return static_cast<ssize_t>(total);
    if (why == SSL_ERROR_ZERO_RETURN) return 0;
    return failed(why);
  }

  ssize_t failed(int why) {
    const int os = errno;
    ERR_clear_error();
    if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE) {
      errno = EAGAIN;
      return -1;
    }
    broken_ = true;
    errno = why == SSL_ERROR_SYSCALL && os != 0 && os != EAGAIN ? os : ECONNRESET;
    return -1;
  }

  std::shared_ptr<void> ticket_;
  SslPtr ssl_;
  unsigned messages_ = 0;  // of the handshake's type, received since the handshake
  bool starved_ = false;   // the last read took all that the socket had
  bool ended_ = false, broken_ = false, said_end_ = false;
};

Task<Result<Done>> shake_hands(rpc::Socket& socket, SSL* ssl) {
  for (;;) {
    ERR_clear_error();
    const int done = SSL_accept(ssl);
    if (done == 1) co_return ok();
    const int why = SSL_get_error(ssl, done);
    if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE)
      co_return openssl_error(Errc::invalid, "TLS handshake");
    const auto until = why == SSL_ERROR_WANT_READ ? rpc::Socket::wait_read : rpc::Socket::wait_write;
    const auto [code] = co_await socket.async_wait(until, asio::as_tuple(asio::use_awaitable));
    if (code) co_return make_error(Errc::unavailable, "TLS handshake: " + code.message());
  }
}

}  // namespace

Status ServerContext::use(const Identity& identity, std::chrono::system_clock::time_point now) {
  CHECK_OK(check_usable(identity, domain_, now));
  TRY(const ParsedIdentity parsed, parse_identity(identity.pem));
  TRY(current_, make_context(parsed));
  return ok();
}

Task<Result<Accepted>> accept(rpc::Socket& socket, const ServerContext& context, Millis deadline,
                              std::shared_ptr<void> ticket) {
  const auto settings = context.current();
  if (!settings) co_return make_error(Errc::unavailable, "no certificate yet");
  boost::system::error_code ignored;
  socket.native_non_blocking(true, ignored);  // OpenSSL reads by itself: on a blocking socket it would wait
  SslPtr ssl(SSL_new(settings.get()));
  if (!ssl || SSL_set_fd(ssl.get(), socket.native_handle()) != 1)
    co_return openssl_error(Errc::internal, "SSL_new");
  auto hands = shake_hands(socket, ssl.get());
  CO_CHECK_OK(co_await within(deadline, "TLS handshake", std::move(hands)));
  const unsigned char* chosen = nullptr;
  unsigned size = 0;
  SSL_get0_alpn_selected(ssl.get(), &chosen, &size);
  Accepted out;
  out.http2 = size == 2 && chosen[0] == 'h' && chosen[1] == '2';
  out.layer = std::make_unique<Layer>(std::move(ssl), std::move(ticket));
  co_return out;
}

}  // namespace atl::tls
