#include "base/result.h"

#include <cstring>

namespace atl {

std::string_view name(Errc code) {
  constexpr std::string_view names[] = {"invalid",  "unauthenticated", "denied",      "not_found",
                                        "conflict", "exists",          "exhausted",   "deadline",
                                        "unavailable", "unsupported",  "too_large",   "internal"};
  return names[static_cast<int>(code)];
}

Errc errc_of(int err) {
  switch (err) {
    case ENOENT: case ESRCH: case ENXIO: return Errc::not_found;
    case EACCES: case EPERM: return Errc::denied;
    case EEXIST: return Errc::exists;
    case EBUSY: case ENOTEMPTY: return Errc::conflict;
    case EINVAL: case ENOTDIR: case EISDIR: case ENAMETOOLONG: case ELOOP: return Errc::invalid;
    case ENOSPC: case EDQUOT: case EMFILE: case ENFILE: case EAGAIN: case ENOMEM: return Errc::exhausted;
    case ETIMEDOUT: return Errc::deadline;
    case ECONNREFUSED: case ECONNRESET: case EPIPE: return Errc::unavailable;
    case ENOSYS: case EOPNOTSUPP: return Errc::unsupported;
    default: return Errc::internal;
  }
}

Error os_error(std::string_view call, std::string_view argument, int err) {
  std::string text(call);
  if (!argument.empty()) text.append(" ").append(argument);
  text.append(": ").append(std::strerror(err));
  return Error{errc_of(err), std::move(text), err};
}

Error with_context(Error error, std::string_view context) {
  error.message.insert(0, std::string(context) + ": ");
  return error;
}

}  // namespace atl
