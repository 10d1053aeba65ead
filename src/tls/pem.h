#pragma once
#include <vector>

#include "base/clock.h"
#include "tls/openssl.h"

namespace atl::tls {

struct ParsedIdentity {
  std::vector<CertPtr> chain;  // the server's own first; at most 10
  KeyPtr key;                  // of chain.front()
};
// Encrypted keys are refused: nobody is there to type the passphrase.
Result<ParsedIdentity> parse_identity(std::string_view pem);

Result<std::chrono::system_clock::time_point> time_of(const ASN1_TIME* time);
std::string first_name(X509* certificate);  // printable; "" where it has none
std::string octal(unsigned mode);

}  // namespace atl::tls
