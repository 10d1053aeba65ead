#include <cstddef>
#include <cstdint>
#include <string_view>

#include "agent/machine/boot_message.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto parsed = atl::agent::machine::parse_boot_message({reinterpret_cast<const char*>(data), size});
  if (parsed.ok() && parsed->entropy.size() != atl::agent::machine::kEntropyBytes) __builtin_trap();
  return 0;
}
