#include "agent/boot_config.h"

#include <unistd.h>

#include "base/json.h"
#include "base/limits.h"

namespace atl::agent {
namespace {

constexpr std::size_t kTokenBytesMax = 4096;
constexpr std::size_t kPathBytesMax = 4095;
constexpr std::size_t kShellTextBytesMax = 64 * 1024;
// sun_path holds 108 bytes, its terminating NUL among them.
constexpr std::size_t kSocketPathBytesMax = 107;

bool is_hex(std::string_view text) {
  return text.find_first_not_of("0123456789abcdef") == text.npos;
}

Result<std::map<std::string, std::string>> read_env(const JsonReader& reader) {
  TRY(auto pairs, reader.string_map("env", limits::env_entries_max, limits::env_bytes_max));
  std::map<std::string, std::string> env;
  for (auto& [name, value] : pairs) {
    const bool named = !name.empty() && name.find('=') == name.npos && name.find('\0') == name.npos;
    if (!named || value.find('\0') != value.npos)
      return make_error(Errc::invalid, "env: a name is empty or holds '=' or NUL, or a value holds NUL");
    env[std::move(name)] = std::move(value);
  }
  return env;
}

Result<std::string> optional_text(const JsonReader& reader, std::string_view key, std::size_t bytes_max) {
  TRY(auto found, reader.opt_string(key, bytes_max));
  std::string text = found.value_or("");
  if (text.find('\0') != text.npos)
    return make_error(Errc::invalid, reader.where(key) + ": holds a NUL byte");
  return text;
}

}  // namespace

Result<BootConfig> parse_boot_config(std::string_view text) {
  if (text.size() > kBootConfigBytesMax) return make_error(Errc::too_large, "boot config: larger than 1 MiB");
  TRY(json::value value, parse_json(text));
  const JsonReader reader(value);
  CHECK_OK(reader.require_object());
  BootConfig config;
  TRY(config.boot_token, reader.string("bootToken", kBootTokenBytes));
  if (config.boot_token.size() != kBootTokenBytes || !is_hex(config.boot_token))
    return make_error(Errc::invalid, "bootToken: expected 64 lower-case hex digits");
  TRY(config.access_token, optional_text(reader, "accessToken", kTokenBytesMax));
  TRY(config.sandbox_id, optional_text(reader, "sandboxId", limits::id_bytes_max));
  TRY(config.template_id, optional_text(reader, "templateId", 256));
  TRY(std::string channel, optional_text(reader, "channel", kSocketPathBytesMax));
  if (!channel.empty()) config.channel = std::move(channel);
  TRY(config.env, read_env(reader));
  TRY(config.default_user, optional_text(reader, "defaultUser", 256));
  TRY(config.default_workdir, optional_text(reader, "defaultWorkdir", kPathBytesMax));
  TRY(config.start_cmd, optional_text(reader, "startCmd", kShellTextBytesMax));
  TRY(config.ready_cmd, optional_text(reader, "readyCmd", kShellTextBytesMax));
  TRY(auto vcpus, reader.opt_int("vcpus", 0, 4096));
  TRY(auto memory, reader.opt_int("memoryBytes", 0, std::int64_t{1} << 50));
  config.vcpus = vcpus.value_or(0);
  config.memory_bytes = memory.value_or(0);
  return config;
}

Result<BootConfig> read_boot_config(int fd) {
  std::string text;
  char buffer[16384];
  for (;;) {
    const ssize_t n = ::read(fd, buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return os_error("read", "boot config");
    if (n == 0) break;
    text.append(buffer, n);
    if (text.size() > kBootConfigBytesMax)
      return make_error(Errc::too_large, "boot config: larger than 1 MiB");
  }
  return parse_boot_config(text);
}

}  // namespace atl::agent
