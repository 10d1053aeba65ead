#pragma once
#include <string>

#include "base/result.h"

// What the agent does where process 1 is the first program of a machine of its own (the microvm
// tier), where on other tiers a container runtime has made everything ready.
namespace atl::agent::machine {

// Whether this is process 1 in the initramfs that the node made (isolation/vm/initramfs.h).
bool is_machine();

// Loads the kernel's modules, mounts the template's image below the sandbox's own disk and moves
// there, waits for the node's boot message, and takes over what it says: entropy, clock, name.
// Afterwards all is as on the other tiers: the boot config is at standard input, standard error is
// the boot log. A failure is the machine's end: the caller logs it and exits, and the kernel panics.
//
// The wait is the point at which a template's memory is saved: what was done before it is shared by
// all clones, so nothing before it may be secret or one's own.
Status enter();

}  // namespace atl::agent::machine
