#pragma once
#include <sys/resource.h>

#include <optional>
#include <string>

#include "agent/boot_config.h"
#include "base/result.h"

namespace atl::agent {

// What must be before any thread or secret is there: not dumpable (nobody reads this memory by
// /proc/1/mem), SIGPIPE and the signals that would end it ignored, every inherited descriptor
// closed on exec. A command gets the default dispositions again (spawn.cpp).
void harden_process();

// Standard input and output become /dev/null, or a pipe's dead end where there is no /dev/null;
// the boot config cannot be read a second time.
Status seal_standard_streams();

// Raises RLIMIT_NOFILE to the hard limit, since each command takes three descriptors, and gives
// the limit that commands shall have.
std::optional<rlimit> raise_open_files();

// Process 1's duties, best effort: each that fails is logged, for the runtime may have done it or
// may forbid it.
void set_up_sandbox(const BootConfig& boot);
Status bring_loopback_up();
// /run/e2b/.E2B_SANDBOX, .E2B_SANDBOX_ID, .E2B_TEMPLATE_ID and /.e2b, which code inside looks for,
// below `root` ("" = the real one).
Status write_markers(const BootConfig& boot, const std::string& root);

}  // namespace atl::agent
