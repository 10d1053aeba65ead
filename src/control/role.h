#pragma once
#include "base/config.h"
#include "base/result.h"

namespace atl::control {

// The api's process: store, seed and api.sock, until SIGTERM or SIGINT, which let running requests
// end. Runs as api_uid, in folders that the supervisor made. Returns the exit status.
int run_api(const Config& config);

// For `atolld` before the api's first start, as api_uid: makes the project `default` where the store
// has none. The plain text of its key, once; "" = there is a project already.
Result<std::string> bootstrap_default_project(const Config& config);

}  // namespace atl::control
