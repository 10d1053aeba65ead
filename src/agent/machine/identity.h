#pragma once
#include "agent/machine/boot_message.h"

namespace atl::agent::machine {

// Mixes the bytes into the kernel's random generator, credits them, and makes it give up its old
// state at once: machines that were cloned from one memory must not draw the same numbers.
Status reseed(std::string_view entropy);
Status set_clock(std::int64_t unix_nanos);
// /etc/hostname, /etc/hosts, and /etc/machine-id where the template has one, as files of this
// sandbox's own: to fill them later is then a short way for a machine whose CPU is emulated.
Status prepare_names();
// Host name, and what prepare_names made.
Status take_name(const BootMessage& message);
// Processes that are there before any of the sandbox's: the kernel's own.
std::int64_t count_processes();
// How many processes there may be beside `kernels`.
Status bound_pids(std::int64_t pids_max, std::int64_t kernels);

}  // namespace atl::agent::machine
