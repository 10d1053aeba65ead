#pragma once
#include <boost/asio/thread_pool.hpp>

#include "base/config.h"
#include "node/tiers.h"

namespace atl::node {

struct Drivers {
  std::vector<std::unique_ptr<isolation::Driver>> open;
  std::vector<Tiers::Missing> missing;
};
// Every driver of this build. Blocks for a moment. `pool` outlives the drivers.
Drivers open_drivers(const Config& config, asio::thread_pool& pool);

}  // namespace atl::node
