#pragma once
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

// Owners of OpenSSL's objects, and its errors as ours. For src/tls only.
namespace atl::tls {

template <auto Free>
struct Freed {
  template <class T>
  void operator()(T* object) const {
    Free(object);
  }
};
using BioPtr = std::unique_ptr<BIO, Freed<BIO_free_all>>;
using KeyPtr = std::unique_ptr<EVP_PKEY, Freed<EVP_PKEY_free>>;
using CertPtr = std::unique_ptr<X509, Freed<X509_free>>;
using SslPtr = std::unique_ptr<SSL, Freed<SSL_free>>;

// The oldest entry of OpenSSL's queue, which is then empty; it holds names and line numbers, no secrets.
inline Error openssl_error(Errc code, std::string_view what) {
  const unsigned long number = ERR_get_error();
  ERR_clear_error();
  const char* reason = number == 0 ? nullptr : ERR_reason_error_string(number);
  return make_error(code, std::string(what) + (reason ? std::string(": ") + reason : std::string()));
}

// Reads memory without copying it; `text` must outlive it.
inline BioPtr reading(std::string_view text) {
  return BioPtr(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

}  // namespace atl::tls
