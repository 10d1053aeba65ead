#pragma once
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/notifier.h"
#include "base/packet_socket.h"

namespace atl::node {

// What the edge is told of a live sandbox. The tokens are secrets.
struct ChannelInfo {
  std::string id, boot_token, access_token, traffic_token, mask_request_host;
};

enum class PeerCheck : std::uint8_t {
  none,      // the runtime connects in the sandbox's name (gVisor)
  init_pid,  // the peer must be the sandbox's process 1
  vmm,       // the peer must be the VMM; it connects before its guest has anything to say
};

// Takes what connects to the sandboxes' channel.sock and hands the descriptors to the edge; never
// reads a byte of a guest. Protocol: docs/architecture.md, "node -> edge". Loop thread only.
class ChannelHub {
 public:
  static constexpr double kAcceptsPerSecond = 20;  // of one sandbox; more are closed at once
  static constexpr std::size_t kPendingMax = 2;    // descriptors that the edge has not judged yet
  static constexpr std::size_t kOutgoingMax = 8192;

  ChannelHub(asio::any_io_executor executor, const Clock& clock, std::uint32_t edge_uid);
  ~ChannelHub();

  // Where the edge connects; owned by the edge's uid, mode 0600.
  Status listen(const std::string& channels_socket);
  // Makes `dir` (0755) with channel.sock (0666) in it, and tells the edge of the sandbox.
  Status open(ChannelInfo info, const std::string& dir, PeerCheck check);
  // Process 1 is known now: connections that came before are judged.
  void set_init(const std::string& id, pid_t init);
  // The listener goes, the edge closes its channel. Unknown ids are fine.
  void close(const std::string& id);
  // Until the edge has said `ready`. Errc::deadline tells what is missing.
  Task<Status> wait_ready(std::string id, Millis at_most);
  void stop();

 private:
  struct Channel;
  struct Edge;
  Task<void> accept_edges();
  Task<void> serve_edge(std::shared_ptr<Edge> edge);
  Task<void> write_edge(std::shared_ptr<Edge> edge);
  Task<void> accept_agents(std::shared_ptr<Channel> channel);
  void judge(Channel& channel, UniqueFd fd, pid_t peer);
  Task<void> offer_when_it_speaks(std::shared_ptr<Channel> channel, std::shared_ptr<asio::posix::stream_descriptor> fd);
  void offer(Channel& channel, UniqueFd fd);
  void on_packet(std::string_view text);
  void log_refusal(Channel& channel, const std::string& reason);
  void send(std::string text, UniqueFd fd);
  void drop_edge(const std::string& why);

  asio::any_io_executor executor_;
  const Clock& clock_;
  std::uint32_t edge_uid_;
  std::optional<UnixListener> listener_;
  std::map<std::string, std::shared_ptr<Channel>> channels_;
  std::shared_ptr<Edge> edge_;
  Notifier changed_;
};

// One packet of the edge: type and id, or an error. Hostile bytes.
struct EdgePacket {
  enum class Type : std::uint8_t { ready, refused, lost } type;
  std::string id, reason;
};
Result<EdgePacket> parse_edge_packet(std::string_view text);

}  // namespace atl::node
