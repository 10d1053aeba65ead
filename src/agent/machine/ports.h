#pragma once
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace atl::agent::machine {

// Names that the node gives the virtio-serial ports (isolation/vm/machine.h).
inline constexpr char kChannelPort[] = "atoll.channel";  // the agent's channel
inline constexpr char kBootPort[] = "atoll.boot";        // the boot message, once
inline constexpr char kLogPort[] = "atoll.log";          // standard error

// The device of the port with that name. The kernel makes them a moment after its module was
// loaded, so this waits, at most 10 seconds; Errc::deadline then.
Result<std::string> find_port(const std::string& name);

}  // namespace atl::agent::machine
