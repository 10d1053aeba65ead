#include "agent/boot_config.h"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  const auto config =
      atl::agent::parse_boot_config(std::string_view(reinterpret_cast<const char*>(data), size));
  if (config.ok() && config->boot_token.size() != atl::agent::kBootTokenBytes) __builtin_trap();
  return 0;
}
