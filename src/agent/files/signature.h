#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "agent/context.h"
#include "base/result.h"
#include "rpc/url.h"

namespace atl::agent {

enum class FileOperation : std::uint8_t { read, write };

// What E2B's clients sign: SHA-256 over "path:operation:user:token" and, with an expiry,
// ":unixSeconds"; written "v1_" + base64 without padding.
std::string file_signature(std::string_view path, FileOperation operation, std::string_view user,
                           std::string_view token, std::optional<std::int64_t> expiry_unix_s);

// May this /files request go on? Without a token set: always. Else X-Access-Token decides where it
// is sent, and the query's signature where not. Errc::unauthenticated says why not; Errc::invalid:
// an expiry that is no number.
Status check_file_access(const AgentContext& context, const rpc::Headers& headers, const rpc::Target& target,
                         FileOperation operation);

}  // namespace atl::agent
