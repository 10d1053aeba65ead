#include "control/usage_history.h"

#include <algorithm>

namespace atl::control {

UsageSample UsageHistory::make(const SandboxIndex::Activity& activity, std::int64_t now_ms) const {
  // A wall clock that was set back must not make a rate of it.
  const double seconds = static_cast<double>(std::max<std::int64_t>(1000, now_ms - last_ms_)) / 1000.0;
  return {now_ms, static_cast<std::int32_t>(activity.most), static_cast<float>(static_cast<double>(activity.starts) / seconds)};
}

void UsageHistory::sample(const std::map<std::string, SandboxIndex::Activity>& since_last, std::int64_t now_ms) {
  for (const auto& [project_id, activity] : since_last) {
    const bool empty = activity.most == 0 && activity.starts == 0;
    if (empty && !rings_.contains(project_id)) continue;
    Ring& ring = rings_[project_id];
    ring.samples.push_back(make(activity, now_ms));
    if (ring.samples.size() > kSamplesMax) ring.samples.pop_front();
    ring.idle = empty ? ring.idle + 1 : 0;
    if (ring.idle >= kSamplesMax) rings_.erase(project_id);
  }
  last_ms_ = now_ms;
}

std::vector<UsageSample> UsageHistory::of(const std::string& project_id, const SandboxIndex::Activity& unfinished,
                                          std::int64_t now_ms, std::int64_t from_ms, std::int64_t to_ms) const {
  std::vector<UsageSample> out;
  const auto at = rings_.find(project_id);
  if (at != rings_.end()) out.assign(at->second.samples.begin(), at->second.samples.end());
  if (now_ms - last_ms_ >= 1000) out.push_back(make(unfinished, now_ms));
  std::erase_if(out, [&](const UsageSample& one) { return one.unix_ms < from_ms || one.unix_ms > to_ms; });
  return out;
}

}  // namespace atl::control
