// Bytes of a hostile client against the whole HTTP/1.1 server, and of a hostile server against the
// parser of replies.
#include "rpc/h1_body.h"
#include "rpc/h1_connection.h"
#include "rpc/testing/fuzz.h"

namespace {

using namespace atl;
using namespace atl::rpc;

Task<void> serve(std::shared_ptr<H1Connection> connection) {
  co_await connection->run(testing::fuzz_handler);
}

Task<void> read_reply(std::string_view bytes, std::size_t piece) {
  testing::FuzzSource source(bytes, piece);
  BufferedReader reader(source);
  const auto length = co_await await_head(reader, 16 * 1024);
  if (!length.ok() || *length == 0) co_return;
  auto parsed = parse_reply_head(reader.buffered().substr(0, *length), piece % 2 ? "GET" : "HEAD");
  reader.consume(*length);
  if (!parsed.ok()) co_return;
  // A head that was accepted can be sent on.
  const auto text = reply_text(parsed->head, Wire{}, false);
  if (!text.ok()) __builtin_trap();
  BodyReader body(reader, parsed->framing, parsed->head.content_length.value_or(0));
  char buffer[100];
  for (;;) {
    const auto n = co_await body.read_some(buffer);
    if (!n.ok() || *n == 0) break;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1 || size > 64 * 1024) return 0;
  const auto bytes = testing::bytes_of(data + 1, size - 1);
  asio::io_context loop(1);
  if (data[0] & 0x80) {
    testing::run_to_end(loop, read_reply(bytes, data[0] & 0x7f));
    return 0;
  }
  testing::FuzzPeer peer(loop, bytes);
  const Http1Limits limits{.head_bytes_max = 8 * 1024, .target_bytes_max = 1024};
  auto connection = std::make_shared<H1Connection>(std::move(*peer.far), nullptr, limits);
  testing::run_to_end(loop, serve(std::move(connection)));
  return 0;
}
