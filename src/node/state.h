#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

namespace atl::node {

// The life of a sandbox on this node, as one table. `ending` stays until the driver has removed
// everything; `ended` is a memory of what was, for logs and lists.
enum class State : std::uint8_t { creating, running, ending, ended };
enum class Change : std::uint8_t { ready, end, removed };

inline constexpr std::array<std::string_view, 4> kStateNames{"creating", "running", "ending", "ended"};
constexpr std::string_view name(State state) {
  return kStateNames[static_cast<std::size_t>(state)];
}
constexpr std::optional<State> parse_state(std::string_view text) {
  for (std::size_t i = 0; i < kStateNames.size(); ++i)
    if (kStateNames[i] == text) return static_cast<State>(i);
  return std::nullopt;
}

namespace detail {
struct Row {
  State from;
  Change change;
  State to;
};
inline constexpr Row kTable[] = {
    {State::creating, Change::ready, State::running}, {State::creating, Change::end, State::ending},
    {State::running, Change::end, State::ending},     {State::ending, Change::end, State::ending},
    {State::ending, Change::removed, State::ended},
};
}  // namespace detail

// nullopt: that change is not possible in that state.
constexpr std::optional<State> next(State from, Change change) {
  for (const auto& row : detail::kTable)
    if (row.from == from && row.change == change) return row.to;
  return std::nullopt;
}
static_assert(next(State::creating, Change::ready) == State::running);
static_assert(!next(State::running, Change::ready));
static_assert(!next(State::running, Change::removed), "nothing is forgotten that was not removed");
static_assert(!next(State::ended, Change::end));

}  // namespace atl::node
