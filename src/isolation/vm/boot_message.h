#pragma once
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"
#include "isolation/driver.h"

namespace atl::isolation::vm {

// What a machine is told once it runs (agent/machine/boot_message.h): the boot config, its name, the
// time, and fresh bytes for its random generator. Holds secrets.
Result<std::string> boot_message(const Spec& spec, std::int64_t unix_nanos, std::string_view entropy);

// A pair of sockets: `reader` gives the message, once it is sent, and then nothing more. `writer` must stay open as
// long as the reader, since QEMU drops what it has not read when it sees the other end go.
struct BootChannel {
  UniqueFd reader, writer;
};
Result<BootChannel> open_boot_channel();
// Never waits: the socket takes all of it at once, read or not.
Status send_boot_message(const BootChannel& channel, std::string_view message);

}  // namespace atl::isolation::vm
