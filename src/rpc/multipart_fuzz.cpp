#include "rpc/multipart.h"
#include "rpc/testing/fuzz.h"

namespace {

using namespace atl;
using namespace atl::rpc;

Task<void> read_parts(std::string_view bytes, std::size_t piece, std::string boundary) {
  testing::FuzzSource source(bytes, piece);
  MultipartReader reader(source, std::move(boundary));
  std::size_t total = 0;
  for (std::size_t i = 0;; ++i) {
    const auto part = co_await reader.next();
    if (!part.ok() || !*part) break;
    char buffer[100];
    while (i % 3 != 2) {  // every third part is skipped unread
      const auto n = co_await reader.read_some(buffer);
      if (!n.ok()) co_return;
      if (*n == 0) break;
      total += *n;
      if (total > bytes.size()) __builtin_trap();
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1) return 0;
  const auto bytes = testing::bytes_of(data + 1, size - 1);
  asio::io_context loop(1);
  testing::run_to_end(loop, read_parts(bytes, data[0], "B"));
  const auto boundary =
      MultipartReader::boundary_of(std::string("multipart/form-data; ") + std::string(bytes));
  if (boundary && (boundary->empty() || boundary->size() > 70)) __builtin_trap();
  return 0;
}
