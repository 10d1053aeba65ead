#include "rpc/connect.h"

#include "base/log.h"

namespace atl::rpc {
namespace {

constexpr std::size_t kPrefix = 5;

std::size_t payload_length(std::string_view prefix) {
  std::size_t length = 0;
  for (std::size_t i = 1; i < kPrefix; ++i) length = length << 8 | static_cast<unsigned char>(prefix[i]);
  return length;
}

}  // namespace

std::string envelope(std::uint8_t flags, std::string_view payload) {
  const auto size = static_cast<std::uint32_t>(payload.size());
  std::string out;
  out.reserve(kPrefix + payload.size());
  out += static_cast<char>(flags);
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(size >> shift & 0xff);
  return out.append(payload);
}

Task<Result<std::optional<Envelope>>> EnvelopeReader::next() {
  std::size_t needed = kPrefix;
  for (;;) {
    if (buffered_.size() >= kPrefix) {
      const auto flags = static_cast<std::uint8_t>(buffered_[0]);
      if ((flags & ~(kEnvelopeCompressed | kEnvelopeEnd)) != 0)
        co_return make_error(Errc::invalid, "envelope with unknown flags " + std::to_string(flags));
      const std::size_t length = payload_length(buffered_);
      if (length > max_) {
        co_return make_error(Errc::invalid, "message of " + std::to_string(length) +
                                                " bytes is larger than the limit of " + std::to_string(max_));
      }
      needed = kPrefix + length;
      if (buffered_.size() >= needed) {
        Envelope found{flags, buffered_.substr(kPrefix, length)};
        buffered_.erase(0, needed);
        co_return std::optional<Envelope>(std::move(found));
      }
    }
    const std::size_t had = buffered_.size();
    // A length is believed only as far as bytes have come, so that five bytes do not cost megabytes.
    buffered_.resize(std::max(had + 4096, std::min(needed, had * 2 + 64 * 1024)));
    auto got = co_await source_.read_some(std::span(buffered_).subspan(had));
    buffered_.resize(had + (got.ok() ? *got : 0));
    if (!got.ok()) co_return std::move(got).error();
    if (*got == 0) {
      if (had == 0) co_return std::optional<Envelope>();
      co_return make_error(Errc::invalid, "the body ended within an envelope");
    }
  }
}

std::string_view connect_code(Errc code) {
  constexpr std::string_view names[] = {"invalid_argument",   "unauthenticated",     "permission_denied",
                                        "not_found",          "failed_precondition", "already_exists",
                                        "resource_exhausted", "deadline_exceeded",   "unavailable",
                                        "unimplemented",      "resource_exhausted",  "internal"};
  return names[static_cast<int>(code)];
}

int connect_status(Errc code) {
  constexpr int statuses[] = {400, 401, 403, 404, 400, 409, 429, 504, 503, 501, 429, 500};
  return statuses[static_cast<int>(code)];
}

std::string connect_error_json(const Error& error) {
  return fmt::format(R"({{"code":"{}","message":"{}"}})", connect_code(error.code),
                     json_escape(error.message));
}

std::string connect_end_json(const Status& outcome) {
  return outcome.ok() ? "{}" : fmt::format(R"({{"error":{}}})", connect_error_json(outcome.error()));
}

}  // namespace atl::rpc
