#include "edge/signature.h"

#include "base/crypto.h"
#include "rpc/url.h"

namespace atl::edge {

std::optional<SignedRequest> signed_request(const rpc::RequestHead& request) {
  const auto target = rpc::parse_target(request.target);
  if (!target.ok()) return std::nullopt;
  SignedRequest out;
  if (request.method == "GET" || request.method == "HEAD")
    out.operation = "read";
  else if (request.method == "POST")
    out.operation = "write";
  else
    return std::nullopt;
  const auto param = [&](std::string_view name) { return std::string(target->param(name).value_or("")); };
  out.signature = param("signature");
  out.path = param("path");
  out.user = param("username");
  out.expiration = param("signature_expiration");
  if (!out.signature.starts_with("v1_") || out.expiration.size() > 20) return std::nullopt;
  // '+' in a query is a space to form decoders, but part of base64's alphabet.
  for (char& c : out.signature)
    if (c == ' ') c = '+';
  return out;
}

std::string sign(const SignedRequest& r, std::string_view access_token) {
  std::string text = r.path + ":" + r.operation + ":" + r.user + ":" + std::string(access_token);
  if (!r.expiration.empty()) text += ":" + r.expiration;
  return "v1_" + base64_unpadded(sha256(text));
}

bool signature_matches(const SignedRequest& request, std::string_view access_token) {
  return equal_constant_time(sign(request, access_token), request.signature);
}

}  // namespace atl::edge
