#include <cstdint>
#include <cstdlib>

#include "base/limits.h"
#include "control/create_request.h"
#include "control/log_lines.h"

// The bodies that clients send, and the log lines that sandboxes write. What is accepted keeps the bounds
// that the rest relies on.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  for (const auto version : {atl::control::ApiVersion::v1, atl::control::ApiVersion::v2}) {
    const auto parsed = atl::control::parse_create(text, version);
    if (!parsed.ok()) {
      if (parsed.error().message.empty()) std::abort();
      continue;
    }
    if (parsed->timeout_s <= 0 || parsed->timeout_s > atl::limits::sandbox_timeout_s_max) std::abort();
    if (parsed->template_name.empty() || parsed->metadata.size() > atl::limits::metadata_entries_max) std::abort();
    for (const auto& [key, value] : parsed->env)
      if (key.empty() || key.find('=') != std::string::npos || key.find('\0') != std::string::npos) std::abort();
    if (parsed->network.mask_request_host.find_first_of(std::string_view("\r\n\0 ", 4)) != std::string::npos) std::abort();
    for (const auto& rule : parsed->network.deny_out)
      if (!atl::control::is_cidr(rule)) std::abort();
  }
  (void)atl::control::parse_network_update(text).ok();
  for (const auto& line : atl::control::parse_log_lines(text, 5))
    if (atl::control::line_text(line).find('\n') != std::string::npos) std::abort();
  return 0;
}
