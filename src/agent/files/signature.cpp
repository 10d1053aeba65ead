#include "agent/files/signature.h"

#include <charconv>

#include "base/crypto.h"

namespace atl::agent {

std::string file_signature(std::string_view path, FileOperation operation, std::string_view user,
                           std::string_view token, std::optional<std::int64_t> expiry_unix_s) {
  std::string text(path);
  text.append(operation == FileOperation::read ? ":read:" : ":write:").append(user).append(":").append(token);
  if (expiry_unix_s) text.append(":").append(std::to_string(*expiry_unix_s));
  return "v1_" + base64_unpadded(sha256(text));
}

Status check_file_access(const AgentContext& context, const rpc::Headers& headers, const rpc::Target& target,
                         FileOperation operation) {
  const std::string& token = context.boot.access_token;
  if (token.empty()) return ok();
  if (!headers.get_or("x-access-token", "").empty()) {
    if (context.token_matches(headers)) return ok();
    return make_error(Errc::unauthenticated, "access token present in header but does not match");
  }
  const auto given = target.param("signature");
  if (!given) return make_error(Errc::unauthenticated, "missing signature query parameter");
  std::optional<std::int64_t> expiry;
  if (const auto text = target.param("signature_expiration")) {
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
    if (error != std::errc() || end != text->data() + text->size())
      return make_error(Errc::invalid, "signature_expiration must be a time in whole seconds since 1970");
    expiry = value;
  }
  // A "+" that a client left unescaped arrives as a space; a signature never holds one.
  std::string signature(*given);
  for (char& c : signature)
    if (c == ' ') c = '+';
  const std::string expected = file_signature(target.param("path").value_or(""), operation,
                                              target.param("username").value_or(""), token, expiry);
  if (!equal_constant_time(signature, expected))
    return make_error(Errc::unauthenticated, "invalid signature");
  const auto now = std::chrono::system_clock::to_time_t(context.clock.wall());
  if (expiry && *expiry < now) return make_error(Errc::unauthenticated, "signature is already expired");
  return ok();
}

}  // namespace atl::agent
