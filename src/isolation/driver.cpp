#include "isolation/driver.h"

namespace atl::isolation {

std::string_view name(Tier tier) {
  switch (tier) {
    case Tier::container: return "container";
    case Tier::gvisor: return "gvisor";
    case Tier::microvm: return "microvm";
  }
  return "unknown";
}

std::optional<Tier> parse_tier(std::string_view text) {
  for (Tier tier : {Tier::container, Tier::gvisor, Tier::microvm})
    if (text == name(tier)) return tier;
  return std::nullopt;
}

}  // namespace atl::isolation
