// Bytes of a hostile agent or client against an HTTP/2 session; a leading preface is added on request,
// so that inputs get past it.
#include <unistd.h>

#include "rpc/http2.h"
#include "rpc/testing/fuzz.h"

namespace {

using namespace atl;
using namespace atl::rpc;

// Magic and an empty SETTINGS frame.
constexpr std::string_view kPreface{"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", 33};

Task<void> as_client(Socket socket) {
  auto client = http2_client(std::move(socket), {}, [] {});
  RequestHead head;
  head.method = "POST";
  head.target = "/";
  auto opened = co_await client->open(std::move(head), true);
  if (!opened.ok()) co_return;
  const Status written = co_await (*opened)->write("some bytes");
  const Status finished = co_await (*opened)->finish_body();
  auto body = co_await read_all(**opened, 1 << 20);
  (void)written.ok();
  (void)finished.ok();
  (void)body.ok();
  client->close();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1 || size > 64 * 1024) return 0;
  std::string bytes;
  if (data[0] & 1) bytes = (data[0] & 2) ? kPreface.substr(24) : kPreface;
  bytes.append(testing::bytes_of(data + 1, size - 1));
  asio::io_context loop(1);
  testing::FuzzPeer peer(loop, bytes);
  if (data[0] & 2)
    testing::run_to_end(loop, as_client(std::move(*peer.far)));
  else
    testing::run_to_end(loop, serve_http2(std::move(*peer.far), (data[0] & 4) ? client_limits() : Http2Limits{}, testing::fuzz_handler));
  return 0;
}
