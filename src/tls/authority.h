#pragma once
#include <chrono>
#include <string>

#include "base/result.h"

namespace atl::tls {

// The files of a local authority for one domain, in one folder.
struct AuthorityFiles {
  std::string folder;
  std::string ca_certificate() const { return folder + "/ca.pem"; }  // for clients to trust
  std::string ca_key() const { return folder + "/ca.key"; }          // 0600
  std::string certificate() const { return folder + "/cert.pem"; }   // of the server, with the authority's
  std::string key() const { return folder + "/key.pem"; }            // 0600
};

inline constexpr std::chrono::hours kAuthorityLife{24 * 3650};
inline constexpr std::chrono::hours kCertificateLife{24 * 90};
inline constexpr std::chrono::hours kRenewBefore{24 * 30};

// Makes what is missing: an authority that can sign names below `domain` and nothing else (a critical
// name constraint; no addresses), and a certificate for the domain and *.domain, anew when it ends within
// kRenewBefore, has other names, or is not this authority's. True: a new certificate was written. ECDSA
// P-256. A damaged or foreign authority is never replaced: clients trust it.
Result<bool> ensure_local_identity(const AuthorityFiles& files, const std::string& domain,
                                   std::chrono::system_clock::time_point now);

}  // namespace atl::tls
