#include "control/sandbox_index.h"

#include <algorithm>
#include <utility>

namespace atl::control {
namespace {

bool has_all(const store::Pairs& sorted, const store::Pairs& wanted) {
  return std::all_of(wanted.begin(), wanted.end(), [&](const auto& pair) {
    const auto at = std::lower_bound(sorted.begin(), sorted.end(), pair.first,
                                     [](const auto& have, const std::string& key) { return have.first < key; });
    return at != sorted.end() && *at == pair;
  });
}

bool matches(const store::Sandbox& row, const ListQuery& query, const std::set<std::string>& template_ids) {
  if (query.started_after_us && row.started_ms * 1000 < *query.started_after_us) return false;
  if (query.template_name && !template_ids.contains(row.template_id)) return false;
  return has_all(row.metadata, query.metadata);
}

bool filters(const ListQuery& query) {
  return query.started_after_us || query.template_name || !query.metadata.empty();
}

template <class Iterator>
void fill(SandboxIndex::Page& page, Iterator from, Iterator to, const ListQuery& query,
          const std::set<std::string>& template_ids) {
  for (; from != to; ++from) {
    if (!matches(from->second->row, query, template_ids)) continue;
    if (page.entries.size() == query.limit) {
      const store::Sandbox& last = page.entries.back()->row;
      page.next = Cursor{last.started_ms * 1000, last.id, query.ascending};
      return;
    }
    page.entries.push_back(from->second);
  }
}

}  // namespace

void SandboxIndex::count(const Entry& entry, int sign) {
  const store::Sandbox& row = entry.row;
  if (row.state == store::State::ending || row.state == store::State::ended) return;
  Use& use = projects_[row.project_id].use;
  use.sandboxes += sign;
  use.vcpus += sign * row.vcpus;
  use.memory_mb += sign * row.memory_mb;
}

void SandboxIndex::add(EntryPtr entry) {
  count(*entry, 1);
  const store::Sandbox& row = entry->row;
  if (row.state == store::State::running) {
    Project& project = projects_[row.project_id];
    project.running.emplace(Place{row.started_ms, row.id}, entry);
    project.activity.most = std::max(project.activity.most, static_cast<std::int64_t>(project.running.size()));
  }
  by_id_[row.id] = std::move(entry);
}

void SandboxIndex::update(const EntryPtr& entry, store::Sandbox row) {
  const EntryPtr kept = entry;
  if (find(kept->row.id) != kept) {
    kept->row = std::move(row);  // forgotten meanwhile: it must not come back
    return;
  }
  remove(kept->row.id);
  if (row.state == store::State::running && kept->row.state != store::State::running) {
    kept->running_since = tick();
    ++projects_[row.project_id].activity.starts;
  }
  kept->row = std::move(row);
  add(kept);
}

void SandboxIndex::remove(const std::string& id) {
  const auto at = by_id_.find(id);
  if (at == by_id_.end()) return;
  const EntryPtr entry = at->second;
  count(*entry, -1);
  if (entry->row.state == store::State::running)
    projects_[entry->row.project_id].running.erase(Place{entry->row.started_ms, entry->row.id});
  by_id_.erase(at);
}

EntryPtr SandboxIndex::find(const std::string& id) const {
  const auto at = by_id_.find(id);
  return at == by_id_.end() ? nullptr : at->second;
}

EntryPtr SandboxIndex::find(const std::string& project_id, const std::string& id) const {
  EntryPtr entry = find(id);
  return entry && entry->row.project_id == project_id ? entry : nullptr;
}

std::vector<EntryPtr> SandboxIndex::all() const {
  std::vector<EntryPtr> out;
  out.reserve(by_id_.size());
  for (const auto& [id, entry] : by_id_) out.push_back(entry);
  return out;
}

Use SandboxIndex::use(const std::string& project_id) const {
  const auto at = projects_.find(project_id);
  return at == projects_.end() ? Use{} : at->second.use;
}

std::int64_t SandboxIndex::running(const std::string& project_id) const {
  const auto at = projects_.find(project_id);
  return at == projects_.end() ? 0 : static_cast<std::int64_t>(at->second.running.size());
}

Use SandboxIndex::use_of_all() const {
  Use all;
  for (const auto& [id, project] : projects_) {
    all.sandboxes += project.use.sandboxes;
    all.vcpus += project.use.vcpus;
    all.memory_mb += project.use.memory_mb;
  }
  return all;
}

std::int64_t SandboxIndex::running_of_all() const {
  std::int64_t all = 0;
  for (const auto& [id, project] : projects_) all += static_cast<std::int64_t>(project.running.size());
  return all;
}

SandboxIndex::Activity SandboxIndex::activity(const std::string& project_id) const {
  const auto at = projects_.find(project_id);
  return at == projects_.end() ? Activity{} : at->second.activity;
}

std::map<std::string, SandboxIndex::Activity> SandboxIndex::take_activity() {
  std::map<std::string, Activity> out;
  for (auto& [id, project] : projects_)
    out[id] = std::exchange(project.activity, Activity{static_cast<std::int64_t>(project.running.size()), 0});
  return out;
}

std::int64_t SandboxIndex::first_end_ms(const std::string& project_id) const {
  const auto at = projects_.find(project_id);
  std::int64_t first = 0;
  if (at == projects_.end()) return first;
  for (const auto& [place, entry] : at->second.running) {
    const std::int64_t end = entry->row.end_ms;
    if (end > 0 && (first == 0 || end < first)) first = end;
  }
  return first;
}

SandboxIndex::Page SandboxIndex::list(const std::string& project_id, const ListQuery& query,
                                      const std::set<std::string>& template_ids) const {
  Page page;
  const auto at = projects_.find(project_id);
  if (at == projects_.end() || !query.running) return page;
  const auto& running = at->second.running;
  page.running_total =
      !filters(query) ? static_cast<std::int64_t>(running.size())
                      : std::count_if(running.begin(), running.end(), [&](const auto& item) {
                          return matches(item.second->row, query, template_ids);
                        });
  // A cursor between two milliseconds stands before the earlier one, which is what floor gives.
  const auto place = query.after ? Place{query.after->unix_us / 1000, query.after->id} : Place{};
  if (!query.ascending) {
    fill(page, query.after ? running.upper_bound(place) : running.begin(), running.end(), query, template_ids);
  } else {
    auto from = running.rbegin();
    if (query.after) from = std::make_reverse_iterator(running.lower_bound(place));
    fill(page, from, running.rend(), query, template_ids);
  }
  return page;
}

}  // namespace atl::control
