#include "control/ids.h"

#include "base/crypto.h"
#include "base/limits.h"

namespace atl::control {

bool valid_id(std::string_view id) {
  return !id.empty() && id.size() <= limits::id_bytes_max &&
         id.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789") == std::string_view::npos;
}

std::optional<std::string> sandbox_id_of(std::string_view segment) {
  const auto dash = segment.find('-');
  if (dash != std::string_view::npos && !valid_id(segment.substr(dash + 1))) return std::nullopt;
  const std::string_view id = segment.substr(0, dash);
  if (!valid_id(id)) return std::nullopt;
  return std::string(id);
}

std::string new_sandbox_id() { return "i" + random_id(20); }

std::string new_uuid() {
  std::string bytes = random_bytes(16);
  bytes[6] = static_cast<char>((bytes[6] & 0x0f) | 0x40);
  bytes[8] = static_cast<char>((bytes[8] & 0x3f) | 0x80);
  std::string text = hex(bytes);
  for (const std::size_t at : {20, 16, 12, 8}) text.insert(at, 1, '-');
  return text;
}

std::string access_token_of(std::string_view seed, std::string_view sandbox_id) {
  return hmac_sha256_hex(seed, sandbox_id);
}

std::string traffic_token_of(std::string_view seed, std::string_view sandbox_id) {
  return hmac_sha256_hex(seed, "sandbox-traffic-" + std::string(sandbox_id));
}

}  // namespace atl::control
