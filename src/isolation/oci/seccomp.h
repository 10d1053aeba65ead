#pragma once
#include <string>

#include "base/json.h"

namespace atl::isolation::oci {

// The container tier's system call filter in the form of the OCI runtime specification
// (linux.seccomp). It allows what it names and refuses the rest, so that a system call that a
// newer kernel brings is refused until somebody has looked at it. See seccomp.cpp for the choices.
const json::object& seccomp_profile();

}  // namespace atl::isolation::oci
