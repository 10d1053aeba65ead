#include "agent/machine/boot_message.h"

#include <time.h>
#include <unistd.h>

#include "base/json.h"

namespace atl::agent::machine {
namespace {

// A port whose host end is not connected reads as ended.
constexpr timespec kPause{0, 20'000'000};

Status read_exactly(int port, char* into, std::size_t count) {
  while (count > 0) {
    const ssize_t n = ::read(port, into, count);
    if (n < 0 && errno != EINTR) return os_error("read", "the boot port");
    if (n == 0) ::nanosleep(&kPause, nullptr);
    if (n <= 0) continue;
    into += n;
    count -= static_cast<std::size_t>(n);
  }
  return ok();
}

Result<std::string> from_hex(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i + 1 < text.size(); i += 2) {
    auto digit = [](char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1; };
    const int high = digit(text[i]), low = digit(text[i + 1]);
    if (high < 0 || low < 0) return make_error(Errc::invalid, "entropy: expected hex digits");
    out += static_cast<char>(high * 16 + low);
  }
  return out;
}

bool plain(std::string_view text) {
  for (const char c : text)
    if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-')) return false;
  return !text.empty();
}

}  // namespace

Result<BootMessage> parse_boot_message(std::string_view text) {
  TRY(const json::value value, parse_json(text));
  const JsonReader reader(value);
  CHECK_OK(reader.require_object());
  BootMessage out;
  TRY(out.hostname, reader.string("hostname", 64));
  TRY(out.machine_id, reader.string("machineId", 32));
  if (!plain(out.hostname) || !plain(out.machine_id))
    return make_error(Errc::invalid, "hostname and machineId: letters, digits and '-' expected");
  TRY(const std::string entropy, reader.string("entropy", 2 * kEntropyBytes));
  if (entropy.size() != 2 * kEntropyBytes) return make_error(Errc::invalid, "entropy: expected 64 bytes in hex");
  TRY(out.entropy, from_hex(entropy));
  TRY(const auto nanos, reader.opt_int("unixNanos", 0, INT64_MAX / 2));
  TRY(const auto pids, reader.opt_int("pidsMax", 0, 4'194'304));
  out.unix_nanos = nanos.value_or(0);
  out.pids_max = pids.value_or(0);
  TRY(const json::value* boot, reader.member("boot"));
  if (!boot || !boot->is_object()) return make_error(Errc::invalid, "boot: expected an object");
  out.boot_config = json::serialize(*boot);
  return out;
}

Result<BootMessage> read_boot_message(int port) {
  unsigned char head[4];
  CHECK_OK(read_exactly(port, reinterpret_cast<char*>(head), sizeof head));
  const std::size_t size = head[0] | head[1] << 8 | head[2] << 16 | static_cast<std::size_t>(head[3]) << 24;
  if (size > kBootMessageBytesMax) return make_error(Errc::too_large, "boot message: larger than 1 MiB");
  std::string text(size, '\0');
  CHECK_OK(read_exactly(port, text.data(), size));
  return parse_boot_message(text);
}

}  // namespace atl::agent::machine
