#include "tls/authority.h"

#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include "base/fs.h"
#include "tls/pem.h"

namespace atl::tls {
namespace {

using Time = std::chrono::system_clock::time_point;

constexpr std::chrono::hours kBackdated{1};  // for clients whose clock is behind
constexpr std::size_t kFileBytesMax = 64 * 1024;

Error failed(std::string_view what) {
  return openssl_error(Errc::internal, what);
}

Result<std::string> text_of(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  return std::string(data, static_cast<std::size_t>(std::max(0L, size)));
}

Result<std::string> to_pem(X509* certificate) {
  const BioPtr out(BIO_new(BIO_s_mem()));
  if (PEM_write_bio_X509(out.get(), certificate) != 1) return failed("write certificate");
  return text_of(out.get());
}

Result<std::string> to_pem(EVP_PKEY* key) {
  const BioPtr out(BIO_new(BIO_s_secmem()));
  if (PEM_write_bio_PKCS8PrivateKey(out.get(), key, nullptr, nullptr, 0, nullptr, nullptr) != 1)
    return failed("write key");
  return text_of(out.get());
}

Result<KeyPtr> new_key() {
  KeyPtr key(EVP_EC_gen("P-256"));
  if (!key) return failed("make key");
  return key;
}

struct Extension {
  int nid;
  std::string value;
};

Status add_extensions(X509* certificate, X509* issuer, const std::vector<Extension>& extensions) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  X509V3_set_ctx_nodb(&context);
  for (const auto& [nid, value] : extensions) {
    X509_EXTENSION* made = X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str());
    const bool added = made && X509_add_ext(certificate, made, -1) == 1;
    X509_EXTENSION_free(made);
    if (!added) return failed("certificate extension " + std::string(OBJ_nid2sn(nid)));
  }
  return ok();
}

Status set_serial(X509* certificate) {
  unsigned char bytes[16];
  if (RAND_bytes(bytes, sizeof bytes) != 1) return failed("random serial");
  bytes[0] = static_cast<unsigned char>((bytes[0] & 0x3f) | 0x40);  // positive, and of full length
  BIGNUM* number = BN_bin2bn(bytes, sizeof bytes, nullptr);
  const bool set = number && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate));
  BN_free(number);
  return set ? ok() : Status(failed("serial"));
}

Status set_times(X509* certificate, Time from, Time to) {
  using std::chrono::system_clock;
  const bool set = ASN1_TIME_set(X509_getm_notBefore(certificate), system_clock::to_time_t(from)) &&
                   ASN1_TIME_set(X509_getm_notAfter(certificate), system_clock::to_time_t(to));
  return set ? ok() : Status(failed("certificate's time"));
}

// `issuer` null: signed by its own key.
struct Wish {
  std::string common_name;
  Time from, to;
  std::vector<Extension> extensions;
};
Result<CertPtr> sign(const Wish& wish, EVP_PKEY* key, X509* issuer, EVP_PKEY* issuer_key) {
  CertPtr made(X509_new());
  if (!made || X509_set_version(made.get(), X509_VERSION_3) != 1) return failed("make certificate");
  CHECK_OK(set_serial(made.get()));
  CHECK_OK(set_times(made.get(), wish.from, wish.to));
  // A common name holds 64 bytes; the names that count are in the extensions.
  const std::string name = wish.common_name.substr(0, 64);
  X509_NAME* subject = X509_get_subject_name(made.get());
  const bool named = X509_NAME_add_entry_by_NID(subject, NID_commonName, MBSTRING_UTF8,
                                                reinterpret_cast<const unsigned char*>(name.data()),
                                                static_cast<int>(name.size()), -1, 0) == 1 &&
                     X509_set_issuer_name(made.get(), issuer ? X509_get_subject_name(issuer) : subject) == 1 &&
                     X509_set_pubkey(made.get(), key) == 1;
  if (!named) return failed("name certificate");
  CHECK_OK(add_extensions(made.get(), issuer ? issuer : made.get(), wish.extensions));
  if (X509_sign(made.get(), issuer_key, EVP_sha256()) == 0) return failed("sign certificate");
  return made;
}

struct Authority {
  CertPtr certificate;
  KeyPtr key;
};

// A permitted name alone would leave addresses free, so all of them are excluded.
std::string constraints_for(const std::string& domain) {
  return "critical,permitted;DNS:" + domain +
         ",excluded;IP:0.0.0.0/0.0.0.0,excluded;IP:0:0:0:0:0:0:0:0/0:0:0:0:0:0:0:0";
}

Result<Authority> make_authority(const AuthorityFiles& files, const std::string& domain, Time now) {
  Authority out;
  TRY(out.key, new_key());
  const Wish wish{"Atoll authority for " + domain,
                  now - kBackdated,
                  now + kAuthorityLife,
                  {{NID_basic_constraints, "critical,CA:TRUE,pathlen:0"},
                   {NID_key_usage, "critical,keyCertSign,cRLSign"},
                   {NID_subject_key_identifier, "hash"},
                   {NID_authority_key_identifier, "keyid:always"},
                   {NID_name_constraints, constraints_for(domain)}}};
  TRY(out.certificate, sign(wish, out.key.get(), nullptr, out.key.get()));
  TRY(const std::string key, to_pem(out.key.get()));
  TRY(const std::string certificate, to_pem(out.certificate.get()));
  // The certificate comes last: an authority without one was never seen by anybody, and is made anew.
  CHECK_OK(write_file_atomic(files.ca_key(), key, 0600));
  CHECK_OK(write_file_atomic(files.ca_certificate(), certificate, 0644));
  return out;
}

Result<Authority> load_authority(const AuthorityFiles& files, Time now) {
  TRY(const std::string certificate, read_file(files.ca_certificate(), kFileBytesMax));
  TRY(const std::string key, read_file(files.ca_key(), kFileBytesMax));
  auto parsed = parse_identity(certificate + "\n" + key);
  if (!parsed.ok())
    return with_context(parsed.error(), "local authority in " + files.folder +
                                            " (restore it from a backup, or move the folder away to make "
                                            "another, which clients must then be told to trust)");
  Authority out{std::move(parsed->chain.front()), std::move(parsed->key)};
  TRY(const Time ends, time_of(X509_get0_notAfter(out.certificate.get())));
  if (now >= ends)
    return make_error(Errc::invalid, "local authority in " + files.folder +
                                         " has expired; move the folder away to make another, which clients "
                                         "must then be told to trust");
  return out;
}

Result<Authority> authority(const AuthorityFiles& files, const std::string& domain, Time now) {
  return exists(files.ca_certificate()) ? load_authority(files, now) : make_authority(files, domain, now);
}

bool has_names(X509* certificate, const std::string& domain) {
  const std::string below = "x." + domain;
  const bool has = X509_check_host(certificate, domain.data(), domain.size(), 0, nullptr) == 1 &&
                   X509_check_host(certificate, below.data(), below.size(), 0, nullptr) == 1;
  ERR_clear_error();
  return has;
}

// Good for another while, so that nothing need be done.
bool is_fresh(const AuthorityFiles& files, const Authority& authority, const std::string& domain, Time now) {
  const auto certificate = read_file(files.certificate(), kFileBytesMax);
  const auto key = read_file(files.key(), kFileBytesMax);
  if (!certificate.ok() || !key.ok()) return false;
  const auto parsed = parse_identity(*certificate + "\n" + *key);
  if (!parsed.ok()) return false;
  X509* const leaf = parsed->chain.front().get();
  const auto ends = time_of(X509_get0_notAfter(leaf));
  const KeyPtr issuer_key(X509_get_pubkey(authority.certificate.get()));
  const bool signed_by = X509_verify(leaf, issuer_key.get()) == 1;
  ERR_clear_error();
  return ends.ok() && *ends - now > kRenewBefore && signed_by && has_names(leaf, domain);
}

Status issue(const AuthorityFiles& files, const Authority& authority, const std::string& domain, Time now) {
  TRY(const KeyPtr key, new_key());
  TRY(const Time authority_ends, time_of(X509_get0_notAfter(authority.certificate.get())));
  const Wish wish{domain,
                  now - kBackdated,
                  std::min<Time>(now + kCertificateLife, authority_ends),
                  {{NID_basic_constraints, "critical,CA:FALSE"},
                   {NID_key_usage, "critical,digitalSignature"},
                   {NID_ext_key_usage, "serverAuth"},
                   {NID_subject_key_identifier, "hash"},
                   {NID_authority_key_identifier, "keyid:always"},
                   {NID_subject_alt_name, "DNS:" + domain + ",DNS:*." + domain}}};
  TRY(const CertPtr made, sign(wish, key.get(), authority.certificate.get(), authority.key.get()));
  TRY(const std::string key_text, to_pem(key.get()));
  TRY(std::string chain, to_pem(made.get()));
  TRY(const std::string issuer, to_pem(authority.certificate.get()));
  chain += issuer;
  // Whoever reads between the two sees a key of another certificate, refuses it and looks again.
  CHECK_OK(write_file_atomic(files.key(), key_text, 0600));
  return write_file_atomic(files.certificate(), chain, 0644);
}

}  // namespace

Result<bool> ensure_local_identity(const AuthorityFiles& files, const std::string& domain, Time now) {
  CHECK_OK(make_dirs(files.folder, 0755));
  TRY(const Authority signer, authority(files, domain, now));
  if (is_fresh(files, signer, domain, now)) return false;
  CHECK_OK(issue(files, signer, domain, now));
  return true;
}

}  // namespace atl::tls
