#pragma once
#include <map>
#include <memory>
#include <string>

#include "rpc/http1.h"

namespace atl::edge {

// How many connections each peer has, so that one cannot take all there are. A peer is an IPv4 address
// or an IPv6 /64, which one customer of a provider has for himself. Loop thread only.
class PeerCounts {
 public:
  explicit PeerCounts(std::size_t each_max) : each_max_(each_max) {}
  // Counted until the ticket is gone; nullptr: that peer has its share already. Peers without an
  // address are not counted.
  std::shared_ptr<void> take(const std::string& address);
  std::size_t peers() const { return counts_->size(); }

 private:
  using Counts = std::map<std::string, std::size_t>;
  std::size_t each_max_;
  std::shared_ptr<Counts> counts_ = std::make_shared<Counts>();
};

// "192.0.2.1" as it is; "2001:db8:1:2:3::4" as "2001:db8:1:2::".
std::string peer_group(const std::string& address);

}  // namespace atl::edge
