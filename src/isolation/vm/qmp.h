#pragma once
#include <string>
#include <string_view>

#include "base/json.h"
#include "base/unique_fd.h"

namespace atl::isolation::vm {

// One answer line of QEMU's machine protocol (docs/interop/qmp-spec of its sources).
struct QmpLine {
  enum class Kind : std::uint8_t { greeting, result, error, event } kind;
  json::value result;    // of Kind::result
  std::string text;      // of Kind::error: its description; of Kind::event: its name
};
inline constexpr std::size_t kQmpLineBytesMax = 256 * 1024;
Result<QmpLine> parse_qmp_line(std::string_view line);

// A connection. Calls block, each at most its `within_ms`. What the other end says is bounded: a
// line's length, and how many events may come before an answer.
class Qmp {
 public:
  // Connects, and reads the greeting: the machine is made by then.
  static Result<Qmp> connect(const std::string& socket, int within_ms);
  // `fd` >= 0 goes along with it (SCM_RIGHTS).
  Result<json::value> call(std::string_view command, json::object arguments, int within_ms, int fd = -1);

 private:
  explicit Qmp(UniqueFd socket) : socket_(std::move(socket)) {}
  Result<std::string> read_line(std::chrono::steady_clock::time_point until);
  Result<QmpLine> read_answer(std::chrono::steady_clock::time_point until);

  UniqueFd socket_;
  std::string buffer_;
};

}  // namespace atl::isolation::vm
