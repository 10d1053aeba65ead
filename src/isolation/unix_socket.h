#pragma once
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace atl::isolation {

// Unix sockets whose path may be longer than an address holds: its folder is named by descriptor.
// listen_unix makes the socket with that mode; one that is left there goes first.
Result<UniqueFd> listen_unix(const std::string& path, unsigned mode);
Result<UniqueFd> connect_unix(const std::string& path);

}  // namespace atl::isolation
