// Bytes of a hostile client against the handshake, and PEM of any kind against the reader.
#include <signal.h>

#include "base/fs.h"
#include "rpc/testing/fuzz.h"
#include "tls/authority.h"
#include "tls/pem.h"
#include "tls/server.h"

namespace {

using namespace atl;

tls::ServerContext& context() {
  static tls::ServerContext made = [] {
    ::signal(SIGPIPE, SIG_IGN);
    char name[] = "/tmp/atoll-tls-fuzz-XXXXXX";
    const tls::AuthorityFiles files{::mkdtemp(name)};
    const auto now = std::chrono::system_clock::now();
    if (!tls::ensure_local_identity(files, "sand.test", now).ok()) __builtin_trap();
    const tls::Identity identity{*read_file(files.certificate(), 1 << 20) + *read_file(files.key(), 1 << 20)};
    tls::ServerContext out("sand.test");
    if (!out.use(identity, now).ok()) __builtin_trap();
    (void)remove_tree(files.folder).ok();
    return out;
  }();
  return made;
}

Task<void> handshake(rpc::Socket& socket) {
  const auto accepted = co_await tls::accept(socket, context(), Millis(1000));
  (void)accepted.ok();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1 || size > 64 * 1024) return 0;
  const auto bytes = rpc::testing::bytes_of(data + 1, size - 1);
  if (data[0] & 1) {
    (void)tls::check_usable({std::string(bytes)}, "sand.test", std::chrono::system_clock::now()).ok();
    return 0;
  }
  asio::io_context loop(1);
  rpc::testing::FuzzPeer peer(loop, bytes);
  rpc::testing::run_to_end(loop, handshake(*peer.far));
  return 0;
}
