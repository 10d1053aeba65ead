#include "isolation/log_tail.h"

#include "base/fs.h"

namespace atl::isolation {

std::string log_tail(const std::string& file) {
  constexpr std::size_t kFileBytesMax = 4u << 20, kTailBytes = 2000;
  const auto text = read_file(file, kFileBytesMax);
  if (!text.ok()) return "";
  std::string out;
  for (const char c : *text) {
    if (c != '\n') out += c;
    else if (!out.empty() && !out.ends_with("; ")) out += "; ";
  }
  if (out.ends_with("; ")) out.resize(out.size() - 2);
  return out.size() <= kTailBytes ? out : out.substr(out.size() - kTailBytes);
}

}  // namespace atl::isolation
