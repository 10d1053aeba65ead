#pragma once
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "store/store.h"

namespace atl::control {

// "e2b_" + 40 hex digits: 160 random bits in the form that SDKs check for.
struct NewKey {
  std::string plaintext;  // shown once, kept nowhere
  store::ApiKey record;
};
NewKey make_key(const std::string& project_id, const std::string& name, std::int64_t now_ms);

// Makes project `name` with one key where the store has no project at all, and returns the key's
// plain text; "" where there is one already. Blocking.
Result<std::string> bootstrap_project(store::Store& store, const std::string& name, std::int64_t now_ms);

// Projects and keys in memory, so that a request is authenticated without the store. Loop thread only.
class KeyRing {
 public:
  void replace(std::vector<store::Project> projects, std::vector<store::ApiKey> keys);
  void add(store::ApiKey key);
  void remove(const std::string& id);
  void rename(const std::string& id, const std::string& name);

  // The project that the plain key opens; nullptr: none. The time of use is noted.
  const store::Project* open(std::string_view plaintext, std::int64_t now_ms);
  std::vector<store::ApiKey> of_project(const std::string& project_id) const;  // oldest first
  const store::Project* project(const std::string& id) const;
  // Keys used since the last call, with the time.
  std::vector<std::pair<std::string, std::int64_t>> take_used();

 private:
  std::unordered_map<std::string, store::ApiKey> by_hash_;
  std::unordered_map<std::string, store::Project> projects_;
  std::unordered_map<std::string, std::int64_t> used_;  // key id -> ms; bounded by the number of keys
};

}  // namespace atl::control
