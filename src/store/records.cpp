#include "store/records.h"

#include <array>

namespace atl::store {
namespace {
constexpr std::array<std::string_view, 4> kNames{"creating", "running", "ending", "ended"};
}

std::string_view name(State state) { return kNames[static_cast<std::size_t>(state)]; }

std::optional<State> parse_state(std::string_view text) {
  for (std::size_t i = 0; i < kNames.size(); ++i)
    if (kNames[i] == text) return static_cast<State>(i);
  return std::nullopt;
}

}  // namespace atl::store
