#pragma once
#include "agent/machine/boot_message.h"

namespace atl::agent::machine {

// Mixes the bytes into the kernel's random generator, credits them, and makes it give up its old
// state at once: machines that were cloned from one memory must not draw the same numbers.
Status reseed(std::string_view entropy);
Status set_clock(std::int64_t unix_nanos);
// Host name, /etc/hostname, /etc/hosts, and /etc/machine-id where the template has one.
Status take_name(const BootMessage& message);
// How many processes there may be, the kernel's own threads not counted.
Status bound_pids(std::int64_t pids_max);

}  // namespace atl::agent::machine
