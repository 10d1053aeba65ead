#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "base/result.h"

namespace atl::agent {

// What process 1 reads from its standard input up to the end of file: one JSON object, at most
// kBootConfigBytesMax. Written by the node (docs/architecture.md, "node -> agent"). The two tokens
// are secrets: they are never logged and never reach a child.
struct BootConfig {
  std::string boot_token;    // 64 hex digits: the channel's preface
  std::string access_token;  // what X-Access-Token must equal; "" = no token is asked for
  std::string sandbox_id;
  std::string template_id;
  std::string channel = "/run/atoll/channel.sock";
  std::map<std::string, std::string> env;
  std::string default_user;       // "" = root
  std::string default_workdir;    // "" = the user's home
  std::string start_cmd;          // shell text of the template, see start_command.h; "" = none
  std::string ready_cmd;          // "" = ready as soon as the start command runs
  std::int64_t vcpus = 0;         // 0 = unknown
  std::int64_t memory_bytes = 0;  // 0 = unknown
};

inline constexpr std::size_t kBootConfigBytesMax = 1u << 20;
inline constexpr std::size_t kBootTokenBytes = 64;

// Errc::invalid names the field. The message never holds a field's value.
Result<BootConfig> parse_boot_config(std::string_view text);
// Reads `fd` to its end; more than kBootConfigBytesMax is Errc::too_large.
Result<BootConfig> read_boot_config(int fd);

}  // namespace atl::agent
