#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace atl::agent::machine {

// What the node writes on the boot port: 4 bytes of length (little-endian), then one JSON object:
// {"hostname","machineId","entropy","unixNanos","pidsMax","boot":{...}}. `boot` is the boot config
// that process 1 gets on standard input on the other tiers.
struct BootMessage {
  std::string hostname;
  std::string machine_id;         // 32 hex digits
  std::string entropy;            // raw bytes for the kernel's random generator, a secret
  std::int64_t unix_nanos = 0;    // the host's clock when the guest began to run
  std::int64_t pids_max = 0;      // 0 = the kernel's own
  std::string boot_config;        // JSON text, holds secrets
};

inline constexpr std::size_t kBootMessageBytesMax = (1u << 20) + 4096;
inline constexpr std::size_t kEntropyBytes = 64;

Result<BootMessage> parse_boot_message(std::string_view text);
// Blocks until the whole message was read from the port.
Result<BootMessage> read_boot_message(int port);

}  // namespace atl::agent::machine
