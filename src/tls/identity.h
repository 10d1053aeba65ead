#pragma once
#include <chrono>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/unique_fd.h"

namespace atl::tls {

inline constexpr std::size_t kIdentityBytesMax = 256 * 1024;  // certificates and key together

// A certificate chain (the server's own first) and its private key, PEM in one text. A secret.
struct Identity {
  std::string pem;
};

// Reads both files as root. The key's must be a regular file of root's that others cannot read and
// nobody else can write; Errc::denied says which command mends it. Nothing is parsed.
Result<Identity> read_identity(const std::string& certificate_path, const std::string& key_path);

// The same text in sealed memory, to be passed to the role that needs it, and back. The reader takes
// at most kIdentityBytesMax.
Result<UniqueFd> to_memory(const Identity& identity);
Result<Identity> from_memory(UniqueFd memory);

struct IdentityFacts {
  std::string subject;  // common name or first DNS name
  std::chrono::system_clock::time_point not_before, not_after;
  bool covers_domain = false;  // *.domain is among its names (a wildcard does not cover the domain itself)
};
// Errc::invalid: not PEM, no certificate or key, or a key of another certificate.
Result<IdentityFacts> examine(const Identity& identity, const std::string& domain);

// Whether this may be served for the domain now: examine() and in time and covering *.domain.
Status check_usable(const Identity& identity, const std::string& domain,
                    std::chrono::system_clock::time_point now);

// Lower-case labels of [a-z0-9-], two or more, at most 200 bytes: room for "{port}-{id}." before it.
Status check_domain(const std::string& domain);

}  // namespace atl::tls
