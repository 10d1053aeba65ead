#include "rootfs/template.h"

// Whatever parses names only layers directly below the folder given.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto read = atl::rootfs::Template::parse(text, "/layers");
  if (!read.ok()) return 0;
  if (read->layers.empty() || read->layers.size() > atl::rootfs::kLayersMax) __builtin_trap();
  for (const std::string& layer : read->layers)
    if (layer.rfind("/layers/", 0) != 0 || layer.find('/', 8) != std::string::npos || layer.size() <= 8) __builtin_trap();
  return 0;
}
