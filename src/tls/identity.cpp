#include "tls/identity.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/fs.h"
#include "tls/openssl.h"
#include "tls/pem.h"

namespace atl::tls {
namespace {

constexpr std::size_t kDomainBytesMax = 200;

Result<std::string> read_all(int fd, const std::string& path) {
  std::string text;
  char buffer[16 * 1024];
  for (;;) {
    const ssize_t n = ::pread(fd, buffer, sizeof buffer, static_cast<off_t>(text.size()));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return os_error("read", path);
    if (n == 0) return text;
    text.append(buffer, static_cast<std::size_t>(n));
    if (text.size() > kIdentityBytesMax)
      return make_error(Errc::too_large, path + ": larger than 256 KiB, the limit for certificates and keys");
  }
}

Status check_key_file(int fd, const std::string& path) {
  struct stat info {};
  if (::fstat(fd, &info) != 0) return os_error("stat", path);
  if (!S_ISREG(info.st_mode)) return make_error(Errc::invalid, path + ": the private key must be a regular file");
  if (info.st_uid != 0)
    return make_error(Errc::denied, path + ": the private key belongs to user " + std::to_string(info.st_uid) +
                                        ", who could change it; it must be root's: chown root " + path);
  if ((info.st_mode & 0027) != 0)
    return make_error(Errc::denied, path + ": the private key has mode " + octal(info.st_mode & 0777) +
                                        ", so that others can read or change it: chmod 600 " + path);
  return ok();
}

}  // namespace

Result<Identity> read_identity(const std::string& certificate_path, const std::string& key_path) {
  TRY(const UniqueFd key, open_fd(key_path, O_RDONLY | O_NONBLOCK));
  CHECK_OK(check_key_file(key.get(), key_path));
  TRY(const UniqueFd certificate, open_fd(certificate_path, O_RDONLY | O_NONBLOCK));
  Identity out;
  TRY(out.pem, read_all(certificate.get(), certificate_path));
  TRY(const std::string key_text, read_all(key.get(), key_path));
  out.pem += "\n" + key_text;
  if (out.pem.size() > kIdentityBytesMax)
    return make_error(Errc::too_large, certificate_path + " and " + key_path + ": larger than 256 KiB together");
  return out;
}

Result<UniqueFd> to_memory(const Identity& identity) {
  UniqueFd fd(::memfd_create("identity", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd.valid()) return os_error("memfd_create", "identity");
  std::string_view left = identity.pem;
  while (!left.empty()) {
    const ssize_t n = ::write(fd.get(), left.data(), left.size());
    if (n < 0) return os_error("write", "identity");
    left.remove_prefix(static_cast<std::size_t>(n));
  }
  if (::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) != 0)
    return os_error("fcntl(F_ADD_SEALS)", "identity");
  return fd;
}

Result<Identity> from_memory(UniqueFd memory) {
  Identity out;
  TRY(out.pem, read_all(memory.get(), "identity"));
  return out;
}

Result<IdentityFacts> examine(const Identity& identity, const std::string& domain) {
  TRY(const ParsedIdentity parsed, parse_identity(identity.pem));
  X509* const leaf = parsed.chain.front().get();
  IdentityFacts facts;
  facts.subject = first_name(leaf);
  TRY(facts.not_before, time_of(X509_get0_notBefore(leaf)));
  TRY(facts.not_after, time_of(X509_get0_notAfter(leaf)));
  // Any one label stands for what the wildcard must cover.
  const std::string probe = "49983-i0." + domain;
  const bool covers = X509_check_host(leaf, probe.data(), probe.size(), 0, nullptr) == 1;
  const std::string api = "api." + domain;
  facts.covers_domain = covers && X509_check_host(leaf, api.data(), api.size(), 0, nullptr) == 1;
  ERR_clear_error();
  return facts;
}

Status check_usable(const Identity& identity, const std::string& domain,
                    std::chrono::system_clock::time_point now) {
  TRY(const IdentityFacts facts, examine(identity, domain));
  if (!facts.covers_domain)
    return make_error(Errc::invalid, "the certificate (" + facts.subject + ") does not cover *." + domain +
                                         ", which names every sandbox; get one for *." + domain);
  if (now < facts.not_before || now >= facts.not_after)
    return make_error(Errc::invalid, "the certificate (" + facts.subject + ") is not valid now: " +
                                         (now < facts.not_before ? "its time has not begun" : "it has expired"));
  return ok();
}

Status check_domain(const std::string& domain) {
  const auto wrong = [&](std::string_view why) {
    return make_error(Errc::invalid, "domain '" + domain.substr(0, 300) + "': " + std::string(why));
  };
  if (domain.empty() || domain.size() > kDomainBytesMax) return wrong("1 to 200 bytes expected");
  constexpr std::string_view kAllowed = "abcdefghijklmnopqrstuvwxyz0123456789-";
  std::size_t labels = 0;
  for (std::string_view rest = domain;; ++labels) {
    const auto dot = rest.find('.');
    const auto label = rest.substr(0, dot);
    if (label.empty() || label.size() > 63) return wrong("each part between dots has 1 to 63 bytes");
    if (label.find_first_not_of(kAllowed) != label.npos || label.front() == '-' || label.back() == '-')
      return wrong("lower-case letters, digits and inner hyphens only");
    if (dot == rest.npos) break;
    rest.remove_prefix(dot + 1);
  }
  if (labels == 0) return wrong("at least two parts, such as sandboxes.example; clients refuse wildcards of one");
  return ok();
}

}  // namespace atl::tls
