// Certificates of our own making, and connections with them.
#include <gtest/gtest.h>
#include <openssl/pem.h>
#include <signal.h>
#include <sys/stat.h>

#include <thread>

#include "base/fs.h"
#include "rpc/http2.h"
#include "rpc/testing/loop.h"
#include "tls/authority.h"
#include "tls/pem.h"
#include "tls/server.h"

namespace atl::tls {
namespace {

using rpc::testing::Loop;
using rpc::testing::socket_pair;

const std::string kDomain = "sand.test";

struct Tls : ::testing::Test {
  Tls() {
    ::signal(SIGPIPE, SIG_IGN);
    char name[] = "/tmp/atoll-tls-test-XXXXXX";
    folder = ::mkdtemp(name);
  }
  ~Tls() override { (void)remove_tree(folder).ok(); }
  AuthorityFiles files(const std::string& name = "a") { return {folder + "/" + name}; }
  Identity identity(const std::string& name = "a") {
    const auto made = ensure_local_identity(files(name), kDomain, now);
    EXPECT_TRUE(made.ok()) << made.error().message;
    return {*read_file(files(name).certificate(), 1 << 20) + *read_file(files(name).key(), 1 << 20)};
  }
  std::string folder;
  std::chrono::system_clock::time_point now = std::chrono::system_clock::now();
};

unsigned mode_of(const std::string& path) {
  struct stat info {};
  EXPECT_EQ(::stat(path.c_str(), &info), 0) << path;
  return info.st_mode & 0777;
}

// OpenSSL's verdict on a server's certificate for a host, by one authority.
int verify(const AuthorityFiles& files, const std::string& host) {
  const auto ca = parse_identity(*read_file(files.ca_certificate(), 1 << 20) + *read_file(files.ca_key(), 1 << 20));
  const auto leaf = parse_identity(*read_file(files.certificate(), 1 << 20) + *read_file(files.key(), 1 << 20));
  EXPECT_TRUE(ca.ok() && leaf.ok());
  X509_STORE* store = X509_STORE_new();
  X509_STORE_add_cert(store, ca->chain.front().get());
  X509_STORE_CTX* context = X509_STORE_CTX_new();
  X509_STORE_CTX_init(context, store, leaf->chain.front().get(), nullptr);
  X509_VERIFY_PARAM_set_flags(X509_STORE_CTX_get0_param(context), X509_V_FLAG_X509_STRICT);
  X509_VERIFY_PARAM_set1_host(X509_STORE_CTX_get0_param(context), host.data(), host.size());
  X509_STORE_CTX_set_purpose(context, X509_PURPOSE_SSL_SERVER);
  X509_verify_cert(context);
  const int verdict = X509_STORE_CTX_get_error(context);
  X509_STORE_CTX_free(context);
  X509_STORE_free(store);
  return verdict;
}

TEST_F(Tls, AuthorityIsMadeOnceAndItsKeysAreSecret) {
  const auto first = ensure_local_identity(files(), kDomain, now);
  ASSERT_TRUE(first.ok()) << first.error().message;
  EXPECT_TRUE(*first);
  EXPECT_EQ(mode_of(files().ca_key()), 0600u);
  EXPECT_EQ(mode_of(files().key()), 0600u);
  EXPECT_EQ(mode_of(files().ca_certificate()), 0644u);
  const auto ca = *read_file(files().ca_certificate(), 1 << 20);
  const auto again = ensure_local_identity(files(), kDomain, now + std::chrono::hours(24 * 59));
  ASSERT_TRUE(again.ok());
  EXPECT_FALSE(*again) << "still fresh";
  const auto renewed = ensure_local_identity(files(), kDomain, now + std::chrono::hours(24 * 61));
  ASSERT_TRUE(renewed.ok());
  EXPECT_TRUE(*renewed) << "30 days before its end";
  EXPECT_EQ(*read_file(files().ca_certificate(), 1 << 20), ca);
}

TEST_F(Tls, ClientsAcceptItForTheDomainAlone) {
  (void)identity();
  EXPECT_EQ(verify(files(), "api.sand.test"), X509_V_OK);
  EXPECT_EQ(verify(files(), "49983-iabc.sand.test"), X509_V_OK);
  EXPECT_EQ(verify(files(), "sand.test"), X509_V_OK);
  EXPECT_EQ(verify(files(), "api.other.test"), X509_V_ERR_HOSTNAME_MISMATCH);
  EXPECT_EQ(verify(files(), "a.b.sand.test"), X509_V_ERR_HOSTNAME_MISMATCH);
}

TEST_F(Tls, AStolenAuthorityIsOfNoUseElsewhere) {
  (void)identity();
  // The authority of sand.test signs for another domain.
  ASSERT_TRUE(ensure_local_identity(files(), "bank.test", now).ok());
  EXPECT_EQ(verify(files(), "api.bank.test"), X509_V_ERR_PERMITTED_VIOLATION);
}

TEST_F(Tls, ADamagedAuthorityIsNotReplaced) {
  (void)identity();
  ASSERT_TRUE(write_file_atomic(files().ca_key(), "nonsense", 0600).ok());
  const auto made = ensure_local_identity(files(), kDomain, now + std::chrono::hours(24 * 61));
  ASSERT_FALSE(made.ok());
  EXPECT_NE(made.error().message.find("move the folder away"), std::string::npos);
}

TEST_F(Tls, AKeyThatOthersCanReadIsRefused) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  (void)identity();
  const std::string certificate = files().certificate(), key = files().key();
  EXPECT_TRUE(read_identity(certificate, key).ok());
  for (const unsigned mode : {0644u, 0604u, 0620u, 0602u}) {
    ::chmod(key.c_str(), mode);
    const auto read = read_identity(certificate, key);
    ASSERT_FALSE(read.ok()) << mode;
    EXPECT_EQ(read.error().code, Errc::denied);
    EXPECT_NE(read.error().message.find("chmod 600"), std::string::npos);
  }
  ::chmod(key.c_str(), 0600);
  ASSERT_EQ(::chown(key.c_str(), 12345, 0), 0);
  EXPECT_EQ(read_identity(certificate, key).error().code, Errc::denied);
  EXPECT_EQ(read_identity(certificate, folder + "/none").error().code, Errc::not_found);
}

TEST_F(Tls, IdentityTravelsInSealedMemory) {
  const Identity one = identity();
  auto memory = to_memory(one);
  ASSERT_TRUE(memory.ok());
  EXPECT_LT(::write(memory->get(), "x", 1), 0);
  const auto back = from_memory(std::move(*memory));
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(back->pem, one.pem);
}

TEST_F(Tls, WhatCannotBeServedIsRefusedWithTheReason) {
  const Identity good = identity();
  EXPECT_TRUE(check_usable(good, kDomain, now).ok());
  const auto why = [&](const Identity& i, const std::string& domain, std::chrono::hours later) {
    const auto usable = check_usable(i, domain, now + later);
    return usable.ok() ? std::string() : usable.error().message;
  };
  EXPECT_NE(why(good, "other.test", {}).find("does not cover *.other.test"), std::string::npos);
  EXPECT_NE(why(good, kDomain, std::chrono::hours(24 * 91)).find("expired"), std::string::npos);
  EXPECT_NE(why({"nonsense"}, kDomain, {}).find("no certificate"), std::string::npos);
  const Identity crossed{*read_file(files().certificate(), 1 << 20) +
                         (identity("b"), *read_file(files("b").key(), 1 << 20))};
  EXPECT_NE(why(crossed, kDomain, {}).find("does not belong"), std::string::npos);
}

TEST_F(Tls, DomainNames) {
  for (const char* good : {"sand.test", "a.b-c.example", "x1.y2"}) EXPECT_TRUE(check_domain(good).ok()) << good;
  for (const char* bad : {"", "test", "Sand.test", "sand.test.", ".sand.test", "sand..test", "-a.test", "a-.test",
                          "a_b.test", "a b.test", "sand.test:443", "*.sand.test", "a/b.test"})
    EXPECT_FALSE(check_domain(bad).ok()) << bad;
  EXPECT_FALSE(check_domain(std::string(100, 'a') + ".test").ok());
}

// A client that blocks, on a thread of its own.
struct Client {
  std::string alpn, issuer_and_serial, reply, error;
  int key_updates = 0;  // sent before the request

  void run(int fd, bool offers_h2, std::string request, int least = TLS1_2_VERSION, int most = TLS1_3_VERSION) {
    SSL_CTX* context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_min_proto_version(context, least);
    SSL_CTX_set_max_proto_version(context, most);
    SSL_CTX_set_security_level(context, 0);
    SSL* ssl = SSL_new(context);
    SSL_set_fd(ssl, fd);
    const std::string offer = offers_h2 ? std::string("\x02h2\x08http/1.1") : std::string("\x08http/1.1");
    SSL_set_alpn_protos(ssl, reinterpret_cast<const unsigned char*>(offer.data()), offer.size());
    if (SSL_connect(ssl) != 1) {
      error = "handshake";
    } else {
      const unsigned char* chosen = nullptr;
      unsigned size = 0;
      SSL_get0_alpn_selected(ssl, &chosen, &size);
      alpn.assign(reinterpret_cast<const char*>(chosen), size);
      talk(ssl, request);
    }
    SSL_free(ssl);
    SSL_CTX_free(context);
    ::close(fd);
  }
  void talk(SSL* ssl, const std::string& request) {
    for (int i = 0; i < key_updates; ++i)
      if (SSL_key_update(ssl, SSL_KEY_UPDATE_NOT_REQUESTED) != 1 || SSL_do_handshake(ssl) != 1) break;
    SSL_write(ssl, request.data(), static_cast<int>(request.size()));
    char buffer[64 * 1024];
    for (int n; (n = SSL_read(ssl, buffer, sizeof buffer)) > 0;) reply.append(buffer, n);
    if (SSL_get_shutdown(ssl) & SSL_RECEIVED_SHUTDOWN) error = "ended well";
  }
};

// Echoes the body.
Task<void> echo(rpc::Exchange& exchange) {
  auto body = co_await rpc::read_all(exchange.body(), 64u << 20);
  rpc::ReplyHead head;
  (void)co_await exchange.reply(std::move(head), body.ok() ? *body : "cut");
}

Task<void> serve(rpc::Socket& socket, ServerContext& context, rpc::Http1Server& server, std::string& failure) {
  auto accepted = co_await accept(socket, context, Millis(2000));
  if (accepted.ok())
    server.serve(std::move(socket), std::move(accepted->layer));
  else
    failure = accepted.error().message;
}

struct Served {
  Client client;
  std::string failure;
};
Served talk(ServerContext& context, const std::string& request, int least = TLS1_2_VERSION,
            int most = TLS1_3_VERSION, int key_updates = 0) {
  Served out;
  out.client.key_updates = key_updates;
  Loop loop;
  auto [near, far] = socket_pair(loop.context);
  rpc::Http1Server server(loop.context.get_executor(), {}, echo);
  const int fd = ::dup(near.native_handle());
  near.close();
  std::atomic<bool> done = false;
  std::thread peer([&] {
    out.client.run(fd, false, request, least, most);
    done = true;
  });
  spawn(loop.context.get_executor(), "serve", serve(far, context, server, out.failure));
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!done && std::chrono::steady_clock::now() < until) {
    loop.context.restart();
    loop.context.run_for(Millis(10));
    if (!out.failure.empty()) far.close();
  }
  peer.join();
  auto stop = [](rpc::Http1Server& s) -> Task<void> { co_await s.stop(Millis(100)); };
  loop.run(stop(server));
  return out;
}

TEST_F(Tls, Http1OverTlsBothWays) {
  ServerContext context(kDomain);
  ASSERT_TRUE(context.use(identity(), now).ok());
  const std::string body(3'000'000, 'b');
  const std::string request = "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: " +
                              std::to_string(body.size()) + "\r\n\r\n" + body;
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    const Served got = talk(context, request, version, version);
    EXPECT_EQ(got.failure, "");
    EXPECT_EQ(got.client.alpn, "http/1.1");
    EXPECT_EQ(got.client.error, "ended well") << "a close without close_notify could be a cut";
    EXPECT_TRUE(got.client.reply.ends_with("\r\n\r\n" + body)) << got.client.reply.size();
  }
}

// Each costs the server far more than the client, and none carries anything.
TEST_F(Tls, AFloodOfKeyUpdatesEndsTheConnection) {
  ServerContext context(kDomain);
  ASSERT_TRUE(context.use(identity(), now).ok());
  const std::string request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
  const Served few = talk(context, request, TLS1_3_VERSION, TLS1_3_VERSION, 5);
  EXPECT_TRUE(few.client.reply.starts_with("HTTP/1.1 200")) << few.client.reply;
  const Served many = talk(context, request, TLS1_3_VERSION, TLS1_3_VERSION, 500);
  EXPECT_EQ(many.client.reply, "");
}

TEST_F(Tls, PipelinedRequestsInOneRecordAreAllAnswered) {
  ServerContext context(kDomain);
  ASSERT_TRUE(context.use(identity(), now).ok());
  const std::string one = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n";
  const Served got =
      talk(context, one + "one" + one + "two" + "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  EXPECT_NE(got.client.reply.find("\r\n\r\none"), std::string::npos) << got.client.reply;
  EXPECT_NE(got.client.reply.find("\r\n\r\ntwo"), std::string::npos) << got.client.reply;
  EXPECT_EQ(got.client.error, "ended well");
}

TEST_F(Tls, OldTlsIsRefused) {
  ServerContext context(kDomain);
  ASSERT_TRUE(context.use(identity(), now).ok());
  const Served got = talk(context, "", TLS1_VERSION, TLS1_1_VERSION);
  EXPECT_EQ(got.client.error, "handshake");
  EXPECT_NE(got.failure.find("TLS handshake"), std::string::npos);
}

TEST_F(Tls, ASilentClientIsNotWaitedFor) {
  ServerContext context(kDomain);
  ASSERT_TRUE(context.use(identity(), now).ok());
  Loop loop;
  auto [near, far] = socket_pair(loop.context);
  Errc code = Errc::internal;
  auto work = [](rpc::Socket& socket, ServerContext& with, Errc& into) -> Task<void> {
    const auto accepted = co_await accept(socket, with, Millis(50));
    if (!accepted.ok()) into = accepted.error().code;
  };
  loop.run(work(far, context, code));
  EXPECT_EQ(code, Errc::deadline);
}

TEST_F(Tls, ABadNewIdentityLeavesTheOldOneInUse) {
  ServerContext context(kDomain);
  EXPECT_FALSE(context.ready());
  EXPECT_FALSE(context.use({"nonsense"}, now).ok());
  EXPECT_FALSE(context.ready());
  ASSERT_TRUE(context.use(identity(), now).ok());
  const auto before = context.current();
  EXPECT_FALSE(context.use({"nonsense"}, now).ok());
  EXPECT_EQ(context.current(), before);
  ASSERT_TRUE(context.use(identity("b"), now).ok());
  EXPECT_NE(context.current(), before);
}

}  // namespace
}  // namespace atl::tls
