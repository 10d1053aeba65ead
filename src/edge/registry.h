#pragma once
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>

#include "base/clock.h"
#include "base/notifier.h"
#include "base/unique_fd.h"
#include "edge/packets.h"
#include "edge/signature.h"
#include "rpc/http2.h"

namespace atl::edge {

// One live sandbox as the edge knows it. The tokens are secrets.
struct LiveSandbox {
  std::string id;
  std::string boot_token, access_token, traffic_token, mask_request_host;
  std::shared_ptr<rpc::Http2Client> channel;  // null until its agent has proved itself
  std::size_t proving = 0;                    // descriptors whose preface is awaited
  std::uint64_t sync = 0;                     // of the node's last list that had it
};

// Live sandboxes and their channels, as the node tells of them. Loop thread only.
class ChannelRegistry {
 public:
  static constexpr Millis kPrefaceDeadline{2000};
  static constexpr Millis kHealthDeadline{10'000};
  static constexpr std::size_t kProvingMax = 4;                 // of one sandbox
  static constexpr double kSignatureHashesPerSecond = 200'000;  // over all look-ups: about a tenth of a CPU

  // `say` sends a packet to the node; it is dropped while there is no node.
  ChannelRegistry(asio::any_io_executor executor, const Clock& clock, std::function<void(std::string)> say);
  ~ChannelRegistry();

  void on_node_connected();
  void on_node_lost();
  void on_packet(NodePacket packet, UniqueFd fd);

  // nullptr: unknown.
  std::shared_ptr<LiveSandbox> find(const std::string& id) const;
  std::shared_ptr<LiveSandbox> find_by_token(std::string_view access_token) const;
  // The sandbox whose token made this signature. There is nothing to look it up by, so every live
  // token is tried: O(sandboxes) hashes. Errc::exhausted when such look-ups take too much time.
  Result<std::shared_ptr<LiveSandbox>> find_by_signature(const SignedRequest& request);

  // Waits until the node's list is known, at most that long. False: it is not.
  Task<bool> wait_synced(Millis at_most);
  // The channel, waiting for an agent that is dialling again. nullptr: none in that time, or ended.
  Task<std::shared_ptr<rpc::Http2Client>> wait_channel(std::shared_ptr<LiveSandbox> sandbox, Millis at_most);

 private:
  Task<void> prove(std::shared_ptr<LiveSandbox> sandbox, UniqueFd fd);
  Task<Status> prove_now(std::shared_ptr<LiveSandbox> sandbox, UniqueFd fd);
  void on_channel_end(const std::string& id, std::uint64_t serial);
  void add(NodePacket packet);
  void remove(const std::string& id);
  bool take_hashes(std::size_t count);

  asio::any_io_executor executor_;
  const Clock& clock_;
  std::function<void(std::string)> say_;
  std::map<std::string, std::shared_ptr<LiveSandbox>> sandboxes_;
  std::unordered_map<std::string, std::string> by_token_;  // SHA-256 of an access token -> id
  std::map<std::string, std::uint64_t> serials_;           // of each id's present channel
  std::uint64_t next_serial_ = 1;
  std::uint64_t sync_ = 0;
  bool synced_ = false;
  Notifier changed_;
  double hashes_ = kSignatureHashesPerSecond;
  std::chrono::steady_clock::time_point hashes_refilled_;
};

// Reads a channel's first 64 bytes and compares them in constant time. Errc::deadline when they do
// not come in time, Errc::denied when they are wrong.
Task<Status> check_preface(rpc::Socket& socket, std::string token, Millis deadline);

}  // namespace atl::edge
