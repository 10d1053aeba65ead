#pragma once
#include <cstdint>
#include <set>

#include "base/limits.h"
#include "base/result.h"

namespace atl::node {

// Which of the node's host id ranges are in use. A range goes back only when its sandbox is wholly
// removed, and the search moves on, so that a range is not reused at once.
class UidRanges {
 public:
  UidRanges(std::uint32_t first, std::uint32_t count) : first_(first), count_(count) {}

  Result<std::uint32_t> take() {
    for (std::uint32_t i = 0; i < count_; ++i) {
      const std::uint32_t n = (next_ + i) % count_;
      if (used_.contains(n)) continue;
      used_.insert(n);
      next_ = (n + 1) % count_;
      return first_ + n * static_cast<std::uint32_t>(limits::uid_range_size);
    }
    return make_error(Errc::exhausted,
                      "all " + std::to_string(count_) +
                          " host id ranges of this node are in use; end a sandbox or raise uid_ranges");
  }
  // Errc::conflict: in use already, or not one of ours.
  Status hold(std::uint32_t base) {
    const auto n = index_of(base);
    if (!n || !used_.insert(*n).second)
      return make_error(Errc::conflict, "host id range " + std::to_string(base) +
                                            " is in use or outside uid_first/uid_ranges");
    return ok();
  }
  void give_back(std::uint32_t base) {
    if (const auto n = index_of(base)) used_.erase(*n);
  }
  std::size_t in_use() const { return used_.size(); }

 private:
  std::optional<std::uint32_t> index_of(std::uint32_t base) const {
    if (base < first_ || (base - first_) % limits::uid_range_size != 0) return std::nullopt;
    const std::uint32_t n = (base - first_) / static_cast<std::uint32_t>(limits::uid_range_size);
    if (n >= count_) return std::nullopt;
    return n;
  }

  std::uint32_t first_, count_, next_ = 0;
  std::set<std::uint32_t> used_;
};

}  // namespace atl::node
