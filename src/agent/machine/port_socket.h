#pragma once
#include <string>

#include "base/task.h"
#include "rpc/http1.h"

namespace atl::agent::machine {

// Whether the channel is a virtio-serial port (a character device) instead of a Unix socket.
bool is_port(const std::string& path);

// A socket whose bytes go to and from the port until either end is closed; a task on `executor`
// carries them. Errc::unavailable while the host is not connected. Closing the port throws away what
// the host's last connection sent and nobody read, so each connection begins clean.
Result<rpc::Socket> open_port(asio::any_io_executor executor, const std::string& path);

}  // namespace atl::agent::machine
