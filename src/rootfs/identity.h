#pragma once
#include <cstdint>
#include <string>

#include "base/result.h"

namespace atl::rootfs {

// Gives a mounted root its own name before anything runs in it: /etc/hosts, /etc/hostname, and a
// fresh /etc/machine-id where the template has one, so that clones are not taken for each other.
// A root without /etc is left as it is. The template's links are not followed.
Status write_identity(const std::string& root, const std::string& hostname, std::uint32_t uid_base);

// Makes /tmp/.X11-unix, as systemd does at boot. gVisor puts a tmpfs over a /tmp that is empty, and
// then what a program stores there would be memory instead of the sandbox's disk.
Status fill_tmp(const std::string& root, std::uint32_t uid_base);

}  // namespace atl::rootfs
