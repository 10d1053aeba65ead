#pragma once
#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace atl {

// Thin doors to libsodium. Call crypto_init() once in main.
void crypto_init();

std::string random_bytes(std::size_t count);
std::string random_hex(std::size_t bytes);           // 2 characters a byte
std::string random_id(std::size_t length);           // [a-z0-9], unbiased
std::string sha256(std::string_view data);           // 32 raw bytes
std::string sha256_hex(std::string_view data);
std::string hmac_sha256_hex(std::string_view key, std::string_view data);
bool equal_constant_time(std::string_view a, std::string_view b);
std::string hex(std::string_view data);
std::string base64(std::string_view data);            // standard alphabet, padded
std::string base64_unpadded(std::string_view data);   // standard alphabet
std::string base64url(std::string_view data);         // no padding
std::optional<std::string> base64_decode(std::string_view text);     // standard, padded
std::optional<std::string> base64url_decode(std::string_view text);  // no padding

}  // namespace atl
