#pragma once
#include <string>

#include "rpc/http1.h"

namespace atl::rpc {

// The other end's address ("192.0.2.1", "2001:db8::1"; one mapped into IPv6 as plain IPv4), "" where
// there is none (UNIX sockets, closed ones).
std::string peer_address(Socket& socket);

}  // namespace atl::rpc
