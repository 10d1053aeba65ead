#include "isolation/vm/qmp.h"

#include <poll.h>
#include <sys/socket.h>

#include "isolation/unix_socket.h"

namespace atl::isolation::vm {
namespace {

using SteadyClock = std::chrono::steady_clock;
constexpr int kEventsMax = 256;
constexpr std::size_t kTextBytesMax = 1024;

Status wait_readable(int fd, SteadyClock::time_point until) {
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - SteadyClock::now()).count();
    if (left <= 0) return make_error(Errc::deadline, "QEMU did not answer on its control socket in time");
    pollfd waiting{fd, POLLIN, 0};
    const int n = ::poll(&waiting, 1, static_cast<int>(left));
    if (n > 0) return ok();
    if (n < 0 && errno != EINTR) return os_error("poll", "QMP");
  }
}

Status send_with_fd(int socket, std::string_view text, int fd) {
  iovec data{const_cast<char*>(text.data()), text.size()};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  alignas(cmsghdr) char space[CMSG_SPACE(sizeof(int))] = {};
  if (fd >= 0) {
    message.msg_control = space;
    message.msg_controllen = sizeof space;
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    *reinterpret_cast<int*>(CMSG_DATA(header)) = fd;
  }
  // Commands are short: the socket's buffer takes one at once, or QEMU is stuck.
  const ssize_t n = ::sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
  if (n < 0) return os_error("sendmsg", "QMP");
  if (n != static_cast<ssize_t>(text.size())) return make_error(Errc::unavailable, "QEMU takes no commands");
  return ok();
}

}  // namespace

Result<QmpLine> parse_qmp_line(std::string_view line) {
  if (line.size() > kQmpLineBytesMax) return make_error(Errc::too_large, "QMP: a line longer than 256 KiB");
  TRY(json::value value, parse_json(line));
  if (!value.is_object()) return make_error(Errc::invalid, "QMP: expected an object");
  json::object& object = value.as_object();
  if (object.contains("QMP")) return QmpLine{QmpLine::Kind::greeting, {}, ""};
  if (auto* result = object.if_contains("return")) return QmpLine{QmpLine::Kind::result, std::move(*result), ""};
  const JsonReader reader(value);
  if (object.contains("event")) {
    TRY(std::string event, reader.string("event", kTextBytesMax));
    return QmpLine{QmpLine::Kind::event, {}, std::move(event)};
  }
  TRY(const auto error, reader.object("error"));
  if (!error) return make_error(Errc::invalid, "QMP: a line of no known kind");
  TRY(std::string text, error->string("desc", 64 * 1024));
  if (text.size() > kTextBytesMax) text.resize(kTextBytesMax);
  return QmpLine{QmpLine::Kind::error, {}, std::move(text)};
}

Result<std::string> Qmp::read_line(SteadyClock::time_point until) {
  for (;;) {
    if (const auto end = buffer_.find('\n'); end != std::string::npos) {
      std::string line = buffer_.substr(0, end);
      buffer_.erase(0, end + 1);
      return line;
    }
    if (buffer_.size() > kQmpLineBytesMax) return make_error(Errc::too_large, "QMP: a line longer than 256 KiB");
    CHECK_OK(wait_readable(socket_.get(), until));
    char piece[16384];
    const ssize_t n = ::recv(socket_.get(), piece, sizeof piece, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    if (n < 0) return os_error("recv", "QMP");
    if (n == 0) return make_error(Errc::unavailable, "QEMU ended");
    buffer_.append(piece, static_cast<std::size_t>(n));
  }
}

Result<QmpLine> Qmp::read_answer(SteadyClock::time_point until) {
  for (int events = 0; events < kEventsMax; ++events) {
    TRY(const std::string line, read_line(until));
    TRY(QmpLine parsed, parse_qmp_line(line));
    if (parsed.kind != QmpLine::Kind::event) return parsed;
  }
  return make_error(Errc::invalid, "QMP: events without end instead of an answer");
}

Result<Qmp> Qmp::connect(const std::string& socket, int within_ms) {
  const auto until = SteadyClock::now() + std::chrono::milliseconds(within_ms);
  TRY(UniqueFd fd, connect_unix(socket));
  Qmp qmp(std::move(fd));
  TRY(const QmpLine greeting, qmp.read_answer(until));
  if (greeting.kind != QmpLine::Kind::greeting) return make_error(Errc::invalid, "QMP: no greeting");
  TRY([[maybe_unused]] const json::value agreed, qmp.call("qmp_capabilities", {}, within_ms));
  return qmp;
}

Result<json::value> Qmp::call(std::string_view command, json::object arguments, int within_ms, int fd) {
  const auto until = SteadyClock::now() + std::chrono::milliseconds(within_ms);
  json::object request{{"execute", command}};
  if (!arguments.empty()) request["arguments"] = std::move(arguments);
  CHECK_OK(send_with_fd(socket_.get(), json::serialize(request) + "\n", fd));
  TRY(QmpLine answer, read_answer(until));
  if (answer.kind == QmpLine::Kind::result) return std::move(answer.result);
  return make_error(Errc::internal, "QEMU refused " + std::string(command) + ": " + answer.text);
}

}  // namespace atl::isolation::vm
