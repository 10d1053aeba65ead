#pragma once
#include <memory>
#include <optional>
#include <vector>

#include "base/notifier.h"
#include "isolation/driver.h"

namespace atl::node {

std::string_view posture(isolation::Tier tier);  // hostile-code, mistakes-only

// The drivers of this node and what their probes found. Probes run once, in the background.
class Tiers {
 public:
  // A tier whose driver could not even be opened, and why.
  struct Missing {
    isolation::Tier tier;
    std::string reason;
  };
  explicit Tiers(std::vector<std::unique_ptr<isolation::Driver>> drivers, std::vector<Missing> missing = {});

  void start_probes(asio::any_io_executor executor);
  // "" and "auto" are the strongest tier whose probe worked at native speed. Errc::unsupported with the probe's
  // reason, Errc::deadline while a probe has not ended, Errc::invalid for no tier's name.
  Task<Result<isolation::Driver*>> choose(std::string tier, Millis at_most);
  // Waits for the probes too; one that has not ended says so in its reason.
  struct Found {
    isolation::Tier tier;
    isolation::Probe probe;
    bool is_auto = false;
  };
  Task<std::vector<Found>> all(Millis at_most);

  isolation::Driver* driver(isolation::Tier tier);  // nullptr: none
  const std::vector<std::unique_ptr<isolation::Driver>>& drivers() const { return drivers_; }

 private:
  Task<void> probe(std::size_t index);
  Task<bool> wait_probed(std::size_t index, Millis at_most);

  std::vector<std::unique_ptr<isolation::Driver>> drivers_;  // strongest first
  std::vector<std::optional<isolation::Probe>> probes_;
  std::vector<Missing> missing_;
  Notifier probed_;
};

}  // namespace atl::node
