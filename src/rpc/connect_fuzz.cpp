#include "rpc/connect.h"
#include "rpc/testing/fuzz.h"

namespace {

using namespace atl;
using namespace atl::rpc;

Task<void> read_all_envelopes(std::string_view bytes, std::size_t piece) {
  testing::FuzzSource source(bytes, piece);
  EnvelopeReader reader(source, 4096);
  std::size_t total = 0;
  for (;;) {
    const auto next = co_await reader.next();
    if (!next.ok() || !*next) break;
    if ((*next)->payload.size() > 4096) __builtin_trap();
    total += 5 + (*next)->payload.size();
    if (total > bytes.size()) __builtin_trap();  // more than there was
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1) return 0;
  asio::io_context loop(1);
  testing::run_to_end(loop, read_all_envelopes(testing::bytes_of(data + 1, size - 1), data[0]));
  return 0;
}
