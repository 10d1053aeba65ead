#pragma once
#include "base/config.h"
#include "base/result.h"

namespace atl::atolld {

// Makes the folders of base/paths.h with the owners and modes that the roles rely on; mends those
// that exist. Needs root.
Status prepare_folders(const Config& config);

}  // namespace atl::atolld
