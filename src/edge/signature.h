#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "rpc/message.h"

namespace atl::edge {

// The parts of a signed file URL that its signature covers (E2B's scheme v1).
struct SignedRequest {
  std::string signature;  // as sent, decoded
  std::string path, operation, user;
  std::string expiration;  // digits as sent; "" = none
};

// nullopt: not a signed /files request that could ever be right.
std::optional<SignedRequest> signed_request(const rpc::RequestHead& request);
// "v1_" + unpadded standard base64 of SHA-256 over path:operation:user:token[:expiration].
std::string sign(const SignedRequest& request, std::string_view access_token);
// Constant time in the token.
bool signature_matches(const SignedRequest& request, std::string_view access_token);

}  // namespace atl::edge
