#pragma once
#include <cstdint>
#include <string>

#include "base/result.h"

namespace atl::atolld {

// What a role keeps of root's power.
enum class Power : std::uint8_t { root, none };

// For a role's process, first thing in it, before any thread: no core dumps, not dumpable, the
// process named, and for Power::none the numeric uid (and gid of the same number), no groups, no
// capability, no way to get one. `parent` is the supervisor: the process gets SIGTERM when it dies.
Status become_role(const std::string& role, Power power, std::uint32_t uid, int parent);

}  // namespace atl::atolld
