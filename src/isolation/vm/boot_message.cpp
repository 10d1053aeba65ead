#include "isolation/vm/boot_message.h"

#include <sys/socket.h>

#include "base/crypto.h"
#include "base/json.h"

namespace atl::isolation::vm {

Result<std::string> boot_message(const Spec& spec, std::int64_t unix_nanos, std::string_view entropy) {
  TRY(json::value config, parse_json(spec.boot_config));
  if (!config.is_object()) return make_error(Errc::invalid, "boot config: expected an object");
  const std::string body = json::serialize(json::object{{"hostname", spec.hostname},
                                                        {"machineId", random_hex(16)},
                                                        {"entropy", hex(entropy)},
                                                        {"unixNanos", unix_nanos},
                                                        {"pidsMax", spec.limits.pids},
                                                        {"boot", std::move(config)}});
  std::string out;
  for (int shift = 0; shift < 32; shift += 8) out += static_cast<char>(body.size() >> shift & 0xff);
  return out + body;
}

Result<BootChannel> open_boot_channel() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return os_error("socketpair", "");
  return BootChannel{UniqueFd(ends[0]), UniqueFd(ends[1])};
}

Status send_boot_message(const BootChannel& channel, std::string_view message) {
  // The kernel charges more than the bytes themselves.
  const int buffer = static_cast<int>(4 * message.size() + 65536);
  if (::setsockopt(channel.writer.get(), SOL_SOCKET, SO_SNDBUFFORCE, &buffer, sizeof buffer) != 0)
    return os_error("setsockopt(SO_SNDBUFFORCE)", "");
  const ssize_t n = ::send(channel.writer.get(), message.data(), message.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  if (n < 0) return os_error("send", "boot message");
  if (n == static_cast<ssize_t>(message.size())) return ok();
  return make_error(Errc::too_large, "boot message: " + std::to_string(message.size()) + " bytes do not fit a socket");
}

}  // namespace atl::isolation::vm
