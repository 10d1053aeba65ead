#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace atl::store {

// What one project may use at a time, and how fast it may create.
struct Quota {
  std::int64_t sandboxes = 1000;
  std::int64_t vcpus = 4000;
  std::int64_t memory_mb = 4'000'000;
  std::int64_t creates_per_minute = 1200;  // also the size of the bucket
  auto operator<=>(const Quota&) const = default;
};

struct Project {
  std::string id;    // a UUID
  std::string name;  // unique
  Quota quota;
  std::int64_t created_ms = 0;
  auto operator<=>(const Project&) const = default;
};

// What may be shown of a key whose value is not kept.
struct KeyMask {
  std::string prefix;         // "e2b_"
  std::int64_t value_length = 0;  // without the prefix
  std::string value_prefix, value_suffix;
  auto operator<=>(const KeyMask&) const = default;
};

struct ApiKey {
  std::string id;  // a UUID
  std::string project_id;
  std::string name;
  std::string hash;  // SHA-256 of the whole key, hex: keys are 160 random bits, so that no salt is needed
  KeyMask mask;
  std::int64_t created_ms = 0;
  std::int64_t last_used_ms = 0;  // 0 = never
  auto operator<=>(const ApiKey&) const = default;
};

// `ending`: its end was asked for or seen, and the node has not yet said that all of it is gone.
enum class State : std::uint8_t { creating, running, ending, ended };
std::string_view name(State state);
std::optional<State> parse_state(std::string_view text);

using Pairs = std::vector<std::pair<std::string, std::string>>;

// One sandbox as the control plane knows it. Tokens are derived from the seed and environment
// variables belong to the sandbox alone: neither is kept here.
struct Sandbox {
  std::string id;
  std::string project_id;
  std::string template_id, template_name;  // the name is its folder in the template store
  State state = State::creating;
  std::string tier;  // as asked until the node has said which it is
  std::int64_t vcpus = 0, memory_mb = 0, disk_mb = 0;
  std::int64_t created_ms = 0, started_ms = 0, end_ms = 0, ended_ms = 0;  // unix time; 0 = not yet
  std::string end_reason;
  Pairs metadata;
  std::vector<std::string> deny_out;
  bool secure = true;
  bool public_traffic = true;
  bool internet_asked = true;
  std::string mask_request_host;
  std::string receipt_json;
  std::int64_t oom_kills = 0, pids_refused = 0;
  bool disk_full_seen = false;
  auto operator<=>(const Sandbox&) const = default;
};

// A create that carried a key. It is pending while its sandbox is `creating`.
struct Idempotency {
  std::string project_id;
  std::string key;
  std::string body_hash;  // SHA-256 of route and body, hex
  std::string sandbox_id;
  std::int64_t created_ms = 0;
  auto operator<=>(const Idempotency&) const = default;
};

// One entry of a sandbox's life, shown with its logs.
struct LogEntry {
  std::string sandbox_id;
  std::int64_t unix_ms = 0;
  std::string level;
  std::string message;
  auto operator<=>(const LogEntry&) const = default;
};

struct TemplateUse {
  std::string template_id;
  std::int64_t spawned = 0, last_ms = 0;
  auto operator<=>(const TemplateUse&) const = default;
};

}  // namespace atl::store
