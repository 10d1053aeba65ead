#pragma once
#include <cerrno>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

// The namespace is atl because the C library has a function called atoll.
namespace atl {

// What the caller may do about a failure, not merely what broke. One table maps it to HTTP.
enum class Errc : std::uint8_t {
  invalid,         // the request is wrong; repeating it fails again
  unauthenticated, // no or wrong credential
  denied,          // known, but not allowed
  not_found,
  conflict,        // the thing is in a state that does not allow this now
  exists,
  exhausted,       // a limit was reached; later or with less it may succeed
  deadline,        // the time allowed ran out
  unavailable,     // a part that is needed is not there now; a repeat may succeed
  unsupported,     // this host or tier cannot do it
  too_large,
  internal,
};

constexpr int http_status(Errc code) {
  constexpr int table[] = {400, 401, 403, 404, 409, 409, 429, 504, 503, 501, 413, 500};
  return table[static_cast<int>(code)];
}
static_assert(http_status(Errc::internal) == 500);
std::string_view name(Errc code);

// An expected failure. `message` is for the user: what was asked, what was found, which limit
// applied, what to do next. It never contains a secret.
struct Error {
  Errc code = Errc::internal;
  std::string message;
  int os_error = 0;  // errno, where a system call was the cause
};

// Error of a system call: "openat /x: Permission denied". Maps errno to the nearest Errc.
Error os_error(std::string_view call, std::string_view argument, int err = errno);
Errc errc_of(int err);

struct Done {};

// A value or an Error. Exceptions are for bugs only.
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

  bool ok() const { return state_.index() == 0; }
  T& value() & { return std::get<0>(state_); }
  const T& value() const& { return std::get<0>(state_); }
  T&& value() && { return std::get<0>(std::move(state_)); }
  T* operator->() { return &std::get<0>(state_); }
  const T* operator->() const { return &std::get<0>(state_); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  const Error& error() const& { return std::get<1>(state_); }
  Error&& error() && { return std::get<1>(std::move(state_)); }

 private:
  std::variant<T, Error> state_;
};

using Status = Result<Done>;
inline Status ok() { return Done{}; }

inline Error make_error(Errc code, std::string message) { return Error{code, std::move(message), 0}; }
// The same failure with context in front: "start sandbox x: " + message.
Error with_context(Error error, std::string_view context);

}  // namespace atl

// Statements, not expressions, so that they work in coroutines too (use the CO_ forms there). TRY is
// two statements: give it braces under an if.
//   TRY(auto fd, open_fd(path, O_RDONLY));
//   CHECK_OK(make_dirs(path, 0755));
#define ATOLL_CONCAT_(a, b) a##b
#define ATOLL_CONCAT(a, b) ATOLL_CONCAT_(a, b)
#define ATOLL_TRY_(tmp, ret, decl, expr) \
  auto tmp = (expr);                     \
  if (!tmp.ok()) ret std::move(tmp).error(); \
  decl = std::move(tmp).value()
#define TRY(decl, ...) ATOLL_TRY_(ATOLL_CONCAT(try_, __COUNTER__), return, decl, (__VA_ARGS__))
#define CO_TRY(decl, ...) ATOLL_TRY_(ATOLL_CONCAT(try_, __COUNTER__), co_return, decl, (__VA_ARGS__))
#define ATOLL_CHECK_(ret, expr)                              \
  do {                                                       \
    auto checked_ = (expr);                                  \
    if (!checked_.ok()) ret std::move(checked_).error();     \
  } while (false)
#define CHECK_OK(...) ATOLL_CHECK_(return, (__VA_ARGS__))
#define CO_CHECK_OK(...) ATOLL_CHECK_(co_return, (__VA_ARGS__))
