#include "control/key_ring.h"

#include <algorithm>

#include "base/crypto.h"
#include "control/ids.h"

namespace atl::control {
namespace {

constexpr std::string_view kPrefix = "e2b_";
constexpr std::size_t kKeyBytesMax = 256;

}  // namespace

NewKey make_key(const std::string& project_id, const std::string& name, std::int64_t now_ms) {
  NewKey out;
  const std::string value = random_hex(20);
  out.plaintext = std::string(kPrefix) + value;
  out.record.id = new_uuid();
  out.record.project_id = project_id;
  out.record.name = name;
  out.record.hash = sha256_hex(out.plaintext);
  out.record.mask = {std::string(kPrefix), static_cast<std::int64_t>(value.size()), value.substr(0, 2),
                     value.substr(value.size() - 4)};
  out.record.created_ms = now_ms;
  return out;
}

Result<std::string> bootstrap_project(store::Store& store, const std::string& name, std::int64_t now_ms) {
  TRY(const auto projects, store.projects());
  if (!projects.empty()) return std::string();
  store::Project project;
  project.id = new_uuid();
  project.name = name;
  project.created_ms = now_ms;
  NewKey key = make_key(project.id, "first key", now_ms);
  CHECK_OK(store.add_project(project, key.record));
  return std::move(key.plaintext);
}

void KeyRing::replace(std::vector<store::Project> projects, std::vector<store::ApiKey> keys) {
  projects_.clear();
  by_hash_.clear();
  for (auto& project : projects) {
    std::string id = project.id;
    projects_.emplace(std::move(id), std::move(project));
  }
  for (auto& key : keys) add(std::move(key));
}

void KeyRing::add(store::ApiKey key) {
  std::string hash = key.hash;
  by_hash_.insert_or_assign(std::move(hash), std::move(key));
}

void KeyRing::remove(const std::string& id) {
  std::erase_if(by_hash_, [&](const auto& item) { return item.second.id == id; });
  used_.erase(id);
}

void KeyRing::rename(const std::string& id, const std::string& name) {
  for (auto& [hash, key] : by_hash_)
    if (key.id == id) key.name = name;
}

const store::Project* KeyRing::open(std::string_view plaintext, std::int64_t now_ms) {
  if (plaintext.empty() || plaintext.size() > kKeyBytesMax) return nullptr;
  // Found by the key's hash: how long the look-up takes tells nothing of any key.
  const auto at = by_hash_.find(sha256_hex(plaintext));
  if (at == by_hash_.end()) return nullptr;
  at->second.last_used_ms = now_ms;
  used_[at->second.id] = now_ms;
  return project(at->second.project_id);
}

std::vector<store::ApiKey> KeyRing::of_project(const std::string& project_id) const {
  std::vector<store::ApiKey> out;
  for (const auto& [hash, key] : by_hash_)
    if (key.project_id == project_id) out.push_back(key);
  std::sort(out.begin(), out.end(), [](const auto& a, const auto& b) {
    return a.created_ms != b.created_ms ? a.created_ms < b.created_ms : a.id < b.id;
  });
  return out;
}

const store::Project* KeyRing::project(const std::string& id) const {
  const auto at = projects_.find(id);
  return at == projects_.end() ? nullptr : &at->second;
}

std::vector<std::pair<std::string, std::int64_t>> KeyRing::take_used() {
  std::vector<std::pair<std::string, std::int64_t>> out(used_.begin(), used_.end());
  used_.clear();
  return out;
}

}  // namespace atl::control
