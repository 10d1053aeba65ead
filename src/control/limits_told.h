#pragma once
#include <vector>

#include "proto/node.pb.h"
#include "store/records.h"

namespace atl::control {

// Which of a sandbox's limits its log already tells of. A line has the total so far; the next one of its
// kind comes when the total has doubled and a minute has passed, and the last one with the end: however
// often a limit is hit, the log stays short.
class LimitsTold {
 public:
  static constexpr std::int64_t kEveryMs = 60'000;

  // Of a row that the store kept: its lines were written before.
  void begin(const store::Sandbox& row);
  // The lines that `row`, into which the node's news are merged, gives cause for.
  std::vector<store::LogEntry> news(const store::Sandbox& row, const node::v1::Limits& limits, std::int64_t now_ms);

 private:
  struct Count {
    std::int64_t told = 0, told_ms = 0;
    bool due(std::int64_t total, bool last, std::int64_t now_ms);
  };
  Count oom_, pids_;
  bool disk_full_ = false;
};

// The log's last line of a sandbox, and its level.
store::LogEntry end_line(const store::Sandbox& row);

}  // namespace atl::control
