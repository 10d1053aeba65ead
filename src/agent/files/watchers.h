#pragma once
#include <boost/asio/posix/stream_descriptor.hpp>
#include <memory>
#include <string>
#include <unordered_map>

#include "agent/codec.h"
#include "agent/context.h"
#include "agent/files/request.h"
#include "agent/files/watch_tree.h"

namespace atl::agent {

struct WatchersLimits {
  WatchLimits tree;
  std::size_t watches_max = 100;           // streams and watchers; below fs.inotify.max_user_instances' 128
  std::size_t queued_events_max = 10'000;  // of one watcher that is polled
  Millis idle{30 * 60'000};                // a watcher that nobody asks for this long is removed
};

// A watch that the loop can wait on. The tree's own work is done on the pool.
class Watch {
 public:
  struct Asked {
    std::string path;  // absolute
    bool recursive = false;
    bool include_entry = false;
    bool allow_network = false;
  };
  Watch(AgentContext& context, std::shared_ptr<WatchTree> tree, UniqueFd readable, Asked asked,
        WalkOptions options);

  // The next events, in order; none when the deadline passed first or wake() was called.
  Task<Result<std::vector<filesystem::FilesystemEvent>>> next(Millis deadline);
  void wake() { readable_.cancel(); }

 private:
  AgentContext& context_;
  std::shared_ptr<WatchTree> tree_;
  Asked asked_;
  WalkOptions options_;
  asio::posix::stream_descriptor readable_;
};

// All watches of the sandbox: WatchDir's streams, and the watchers that are asked for their events.
class Watchers {
 public:
  explicit Watchers(AgentContext& context, WatchersLimits limits = {});
  ~Watchers();

  Task<void> watch_dir(rpc::Exchange& exchange, Codec codec);
  Task<void> create_watcher(rpc::Exchange& exchange, Codec codec);
  Task<void> get_events(rpc::Exchange& exchange, Codec codec);
  Task<void> remove_watcher(rpc::Exchange& exchange, Codec codec);

  std::size_t live() const { return *live_; }
  // Removes watchers that nobody has asked for their time. Called by each of the above.
  void sweep();

 private:
  struct Polled;
  using Ticket = std::shared_ptr<void>;  // counts one live watch

  Result<Ticket> admit();
  Task<Result<std::shared_ptr<Watch>>> open(std::optional<std::string> user, std::string path, bool recursive,
                                            bool include_entry, bool allow_network);
  static Task<void> collect(std::shared_ptr<Polled> polled, std::size_t events_max);
  Task<Status> stream(rpc::Exchange& exchange, StreamWriter& writer, std::shared_ptr<Watch> watch);

  AgentContext& context_;
  WatchersLimits limits_;
  std::shared_ptr<std::size_t> live_ = std::make_shared<std::size_t>(0);
  std::unordered_map<std::string, std::shared_ptr<Polled>> polled_;
};

}  // namespace atl::agent
