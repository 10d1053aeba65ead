#include "edge/peer_counts.h"

#include <algorithm>

namespace atl::edge {

std::string peer_group(const std::string& address) {
  boost::system::error_code code;
  const auto parsed = asio::ip::make_address(address, code);
  if (code || !parsed.is_v6()) return address;
  auto bytes = parsed.to_v6().to_bytes();
  std::fill(bytes.begin() + 8, bytes.end(), 0);
  return asio::ip::address_v6(bytes).to_string();
}

std::shared_ptr<void> PeerCounts::take(const std::string& address) {
  const std::string group = peer_group(address);
  if (group.empty()) return std::make_shared<int>(0);
  std::size_t& count = (*counts_)[group];
  if (count >= each_max_) return nullptr;
  ++count;
  auto give_back = [counts = counts_, group](void*) {
    const auto at = counts->find(group);
    if (--at->second == 0) counts->erase(at);
  };
  return std::shared_ptr<void>(counts_.get(), std::move(give_back));
}

}  // namespace atl::edge
