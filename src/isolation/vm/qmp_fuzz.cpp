#include <cstddef>
#include <cstdint>
#include <string_view>

#include "isolation/vm/qmp.h"

// What a VMM that its guest has taken over could answer.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view line(reinterpret_cast<const char*>(data), size);
  const auto parsed = atl::isolation::vm::parse_qmp_line(line);
  if (parsed.ok() && parsed->kind == atl::isolation::vm::QmpLine::Kind::error && parsed->text.size() > 1024) __builtin_trap();
  return 0;
}
