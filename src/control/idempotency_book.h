#pragma once
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "base/notifier.h"
#include "control/answer.h"
#include "store/records.h"

namespace atl::control {

// A create that carried an Idempotency-Key, from its start until a day later.
struct Keyed {
  store::Idempotency record;
  bool pending = true;
  // Set when the create failed: those that wait get the same answer; a later repeat tries anew.
  std::optional<Answer> failed;
  Notifier settled;
};
using KeyedPtr = std::shared_ptr<Keyed>;

// Loop thread only.
class IdempotencyBook {
 public:
  static constexpr std::size_t kPerProjectMax = 100'000;

  void add(KeyedPtr keyed) {
    ++counts_[keyed->record.project_id];
    by_sandbox_[keyed->record.sandbox_id] = keyed;
    auto place = std::make_pair(keyed->record.project_id, keyed->record.key);
    by_key_[std::move(place)] = std::move(keyed);
  }
  KeyedPtr find(const std::string& project_id, const std::string& key) const {
    const auto at = by_key_.find({project_id, key});
    return at == by_key_.end() ? nullptr : at->second;
  }
  KeyedPtr of_sandbox(const std::string& id) const {
    const auto at = by_sandbox_.find(id);
    return at == by_sandbox_.end() ? nullptr : at->second;
  }
  bool full(const std::string& project_id) const {
    const auto at = counts_.find(project_id);
    return at != counts_.end() && at->second >= kPerProjectMax;
  }
  void succeeded(const KeyedPtr& keyed) {
    keyed->pending = false;
    keyed->settled.notify();
  }
  void failed(const KeyedPtr& keyed, Answer answer) {
    keyed->failed = std::move(answer);
    succeeded(keyed);
    remove(keyed);
  }
  void prune(std::int64_t made_before_ms) {
    std::vector<KeyedPtr> old;
    for (const auto& [place, keyed] : by_key_)
      if (!keyed->pending && keyed->record.created_ms < made_before_ms) old.push_back(keyed);
    for (const KeyedPtr& keyed : old) remove(keyed);
  }

 private:
  void remove(const KeyedPtr& keyed) {
    if (by_key_.erase({keyed->record.project_id, keyed->record.key}) == 0) return;
    by_sandbox_.erase(keyed->record.sandbox_id);
    if (--counts_[keyed->record.project_id] == 0) counts_.erase(keyed->record.project_id);
  }

  std::map<std::pair<std::string, std::string>, KeyedPtr> by_key_;
  std::map<std::string, KeyedPtr> by_sandbox_;
  std::map<std::string, std::size_t> counts_;
};

}  // namespace atl::control
