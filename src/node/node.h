#pragma once
#include <boost/asio/thread_pool.hpp>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/limits.h"
#include "base/config.h"
#include "base/notifier.h"
#include "node/capacity.h"
#include "node/channel_hub.h"
#include "node/events.h"
#include "node/limit_hits.h"
#include "node/tiers.h"
#include "node/uid_ranges.h"
#include "node/usage_ring.h"

namespace atl::node {

struct CreateSpec {
  std::string id, template_name, template_id, tier, owner;
  isolation::Limits limits{0, 0, 0, 0, 0};  // 0 = the template's
  std::int64_t end_ms = 0;                  // unix time; 0 = timeout_ms after ready
  std::int64_t timeout_ms = 0;
  std::map<std::string, std::string> env;
  std::string access_token, traffic_token, mask_request_host;
};

// Tests make it throw, which is a crash at that step: nothing below it cleans up.
using Failpoint = std::function<void(std::string_view step)>;

struct NodeParts {
  const Config& config;
  asio::any_io_executor executor;
  asio::thread_pool& pool;
  const Clock& clock;
  Tiers& tiers;
  ChannelHub& hub;
  Failpoint failpoint = [](std::string_view) {};
  DiskSpaceOf disk_space_of = free_disk_space;
};

// The authority for this host's sandboxes: journal, time limits, adoption. Loop thread only.
// Changes of one sandbox come one after another; different sandboxes do not wait for each other.
class Node {
 public:
  static constexpr Millis kRemember{10 * 60 * 1000};  // ended sandboxes
  static constexpr std::size_t kEndedMax = 512;
  static constexpr std::int64_t kBootLogBytesMax = 1 << 20;

  // The last ranges are the drivers' own, for their probes.
  static constexpr std::uint32_t kProbeRanges = 4;
  static std::uint32_t sandbox_ranges(const Config& config) {
    return config.uid_ranges > kProbeRanges ? config.uid_ranges - kProbeRanges : 0;
  }

  explicit Node(NodeParts parts)
      : p_(std::move(parts)), ranges_(p_.config.uid_first, sandbox_ranges(p_.config)) {}

  // Once, before anything else: goes on with what an earlier node left, removes what is half made
  // and what has no journal.
  Task<Status> adopt();

  // The same id again: the same sandbox. On failure nothing of it remains.
  Task<Result<Record>> create(CreateSpec spec);
  // Ok: none of its processes lives, and it cannot run again. Its disk, cgroup, folders and host ids
  // are tidied up in the background, state `ending`. Unknown and ended ids are fine.
  Task<Status> destroy(std::string id, std::string reason);
  // The same, and waits until all of it is gone.
  Task<Status> destroy_wholly(std::string id, std::string reason);
  // Until no tidying is under way, or the time is over.
  Task<void> wait_tidied(Millis at_most);
  Task<Result<Record>> set_end(std::string id, std::int64_t end_ms, bool only_extend);
  std::vector<Record> list() const;
  // nullptr: unknown.
  const UsageRing* usage(const std::string& id) const;
  const Record* find(const std::string& id) const;
  Task<Result<std::string>> logs(std::string id, std::int64_t from_byte);
  std::shared_ptr<Subscriber> subscribe() { return events_.subscribe(); }
  void close_subscribers() { events_.close_all(); }

  // Ends what is due, forgets what ended long ago, repeats removals that failed. Called often.
  void tick();
  // One usage sample of each running sandbox, and its boot log cut. Warns of a disk that runs out.
  Task<void> sample_all();
  // A sample now where a running sandbox has none yet.
  Task<void> first_sample(std::string id);
  Task<void> destroy_all(std::string reason);

 private:
  struct Sandbox {
    Record record;
    AsyncLock lock;
    UsageRing usage;
    LimitHits hits;
    std::shared_ptr<asio::posix::stream_descriptor> exit_watch;
    bool holds_range = false;   // its host ids are given back by it alone
    Millis ready_wait = limits::agent_ready_ms_max;
    bool end_asked = false;     // a destroy is on its way
    bool dead = false;          // no process of it lives
    std::int64_t retry_ms = 0;  // of a removal that failed
  };
  using SandboxPtr = std::shared_ptr<Sandbox>;

  Status check(const CreateSpec& spec) const;
  Status check_capacity(const isolation::Limits& wanted);
  DiskNeed disk_promises() const;
  void warn_of_disk(const std::string& what);
  void give_back_range(Sandbox& sandbox);
  Task<Result<Record>> existing(SandboxPtr sandbox);
  Task<Status> start(SandboxPtr sandbox, CreateSpec spec, std::string boot_config, isolation::Driver& driver);
  Task<Status> wait_ready(SandboxPtr sandbox);
  Task<void> on_early_exit(std::string id, std::shared_ptr<asio::posix::stream_descriptor> process);
  Task<void> undo(SandboxPtr sandbox, isolation::Driver& driver);
  Task<Error> explain(SandboxPtr sandbox, Error error);
  isolation::Spec spec_of(const Record& record) const;
  ChannelInfo channel_of(const Record& record) const;
  PeerCheck peer_check(const Record& record) const;
  Task<Status> save(Record record);
  // The sandbox's folder with an empty boot log and its journal.
  Task<Status> make_folder(Record record);
  Task<Status> remove_folder(std::string id);

  Task<Result<SandboxPtr>> kill(std::string id, std::string reason);
  Task<Status> kill_now(SandboxPtr sandbox, std::string reason);
  Task<Status> tidy(SandboxPtr sandbox);
  Task<Status> tidy_now(SandboxPtr sandbox);
  Task<void> tidy_in_background(SandboxPtr sandbox);
  Task<void> last_look(SandboxPtr sandbox, isolation::Driver& driver);
  Task<void> end_in_background(std::string id, std::string reason);
  Task<void> forget(std::string id);
  void watch_exit(SandboxPtr sandbox);
  Task<void> on_exit(SandboxPtr sandbox, std::shared_ptr<asio::posix::stream_descriptor> process);
  Task<void> sample(SandboxPtr sandbox);
  bool note(Sandbox& sandbox, const isolation::Usage& usage);
  void change(Sandbox& sandbox, Change change);

  Task<void> adopt_one(Record record);
  Task<void> remove_strays();

  std::int64_t now_ms() const { return unix_millis(p_.clock.wall()); }
  std::string channel_dir(const std::string& id) const {
    return p_.config.paths.sandbox_dir(id) + "/channel";
  }
  std::string log_path(const std::string& id) const { return p_.config.paths.sandbox_dir(id) + "/boot.log"; }

  NodeParts p_;
  UidRanges ranges_;
  std::map<std::string, SandboxPtr> sandboxes_;
  Events events_;
  int tidying_ = 0;  // under way or about to begin
  Notifier tidied_;
  std::int64_t disk_warned_ms_ = 0;
};

}  // namespace atl::node
