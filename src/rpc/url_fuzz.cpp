#include "rpc/testing/fuzz.h"
#include "rpc/url.h"

using namespace atl;
using namespace atl::rpc;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto text = testing::bytes_of(data, size);
  const auto target = parse_target(text);
  if (target.ok()) {
    if (target->segments.empty() || target->segments.size() > 256 || target->query.size() > 256)
      __builtin_trap();
    for (const auto& segment : target->segments)
      if (segment.find('\0') != std::string::npos) __builtin_trap();
  }
  if (text.find('\0') == text.npos && percent_decode(percent_encode(text), false) != text) __builtin_trap();
  return 0;
}
