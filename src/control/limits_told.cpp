#include "control/limits_told.h"

#include <fmt/format.h>

namespace atl::control {

bool LimitsTold::Count::due(std::int64_t total, bool last, std::int64_t now_ms) {
  if (total <= told) return false;
  if (told > 0 && !last && (total < 2 * told || now_ms - told_ms < kEveryMs)) return false;
  told = total;
  told_ms = now_ms;
  return true;
}

void LimitsTold::begin(const store::Sandbox& row) {
  oom_.told = row.oom_kills;
  pids_.told = row.pids_refused;
  disk_full_ = row.disk_full_seen;
}

std::vector<store::LogEntry> LimitsTold::news(const store::Sandbox& row, const node::v1::Limits& limits,
                                              std::int64_t now_ms) {
  const bool last = row.state == store::State::ending || row.state == store::State::ended;
  std::vector<store::LogEntry> out;
  auto add = [&](std::string text) { out.push_back({row.id, now_ms, "warn", std::move(text)}); };
  if (oom_.due(row.oom_kills, last, now_ms))
    add(fmt::format("out of memory: {} killed so far (limit {} MB)",
                    row.oom_kills == 1 ? "1 process" : fmt::format("{} processes", row.oom_kills), row.memory_mb));
  if (row.disk_full_seen && !disk_full_) add(fmt::format("disk full: writes fail (limit {} MB)", row.disk_mb));
  disk_full_ = row.disk_full_seen;
  if (pids_.due(row.pids_refused, last, now_ms))
    add(fmt::format("process limit reached: {} refused so far (limit {} processes and threads)", row.pids_refused,
                    limits.pids()));
  return out;
}

store::LogEntry end_line(const store::Sandbox& row) {
  const std::string& why = row.end_reason;
  std::string text = "sandbox ended: " + why;
  if (why == "oom") text += " (its memory limit was reached, and what had to be killed was the sandbox itself)";
  if (why == "pids") text += " (its process limit was reached, and the sandbox itself needed one more)";
  const bool trouble = why == "oom" || why == "pids" || why == "lost";
  return {row.id, row.ended_ms, trouble ? "warn" : "info", std::move(text)};
}

}  // namespace atl::control
