#pragma once
#include <cstdint>
#include <string>

namespace atl::isolation::vm {

// The rate of this host's time stamp counter in kHz, measured against the kernel's raw clock for
// about 50 ms; 0 where there is no such counter. The `microvm` machine has no timer by which the
// guest could find it out.
std::int64_t measure_tsc_khz();

// The guest kernel's command line. Every option is explained in docs/microvm.md.
std::string kernel_command_line(std::int64_t tsc_khz);

}  // namespace atl::isolation::vm
