#include "tls/pem.h"

#include <fmt/format.h>
#include <openssl/pem.h>
#include <time.h>

namespace atl::tls {
namespace {

constexpr std::size_t kChainMax = 10;

int no_passphrase(char*, int, int, void*) {
  return -1;
}

Result<std::vector<CertPtr>> certificates(std::string_view pem) {
  std::vector<CertPtr> out;
  const BioPtr text = reading(pem);
  while (CertPtr next{PEM_read_bio_X509(text.get(), nullptr, no_passphrase, nullptr)}) {
    if (out.size() == kChainMax) return make_error(Errc::invalid, "more than 10 certificates in the chain");
    out.push_back(std::move(next));
  }
  // The loop ends with "no start line" after the last one; before it, or with another, it is an error.
  if (out.empty()) return openssl_error(Errc::invalid, "no certificate in PEM form");
  if (ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
    return openssl_error(Errc::invalid, "a certificate of the chain is damaged");
  ERR_clear_error();
  return out;
}

}  // namespace

Result<ParsedIdentity> parse_identity(std::string_view pem) {
  ERR_clear_error();
  ParsedIdentity out;
  TRY(out.chain, certificates(pem));
  const BioPtr text = reading(pem);
  out.key.reset(PEM_read_bio_PrivateKey(text.get(), nullptr, no_passphrase, nullptr));
  if (!out.key) return openssl_error(Errc::invalid, "no private key in PEM form without a passphrase");
  if (X509_check_private_key(out.chain.front().get(), out.key.get()) != 1)
    return openssl_error(Errc::invalid, "the private key does not belong to the first certificate");
  ERR_clear_error();
  return out;
}

Result<std::chrono::system_clock::time_point> time_of(const ASN1_TIME* time) {
  tm parts{};
  if (ASN1_TIME_to_tm(time, &parts) != 1) return openssl_error(Errc::invalid, "a certificate's date");
  return std::chrono::system_clock::from_time_t(::timegm(&parts));
}

std::string first_name(X509* certificate) {
  std::string out;
  auto* names = static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr));
  for (int i = 0; names && out.empty() && i < sk_GENERAL_NAME_num(names); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names, i);
    if (name->type != GEN_DNS) continue;
    const auto* text = reinterpret_cast<const char*>(ASN1_STRING_get0_data(name->d.dNSName));
    out.assign(text, static_cast<std::size_t>(ASN1_STRING_length(name->d.dNSName)));
  }
  GENERAL_NAMES_free(names);
  std::erase_if(out, [](char c) { return c <= ' ' || c > '~'; });
  return out.substr(0, 253);
}

std::string octal(unsigned mode) {
  return fmt::format("{:04o}", mode);
}

}  // namespace atl::tls
