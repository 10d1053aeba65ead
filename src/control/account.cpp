#include "base/log.h"
#include "control/create_request.h"
#include "control/routes.h"
#include "control/shapes.h"

namespace atl::control {
namespace {

constexpr std::size_t kKeysMax = 100;
constexpr std::size_t kNameBytesMax = 128;

Result<std::string> key_name(const std::string& text) {
  TRY(const json::value value, parse_body(text, false));
  TRY(auto name, JsonReader(value).string("name", kNameBytesMax));
  if (name.empty()) return make_error(Errc::invalid, "name: empty");
  for (const char c : name)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
      return make_error(Errc::invalid, "name: control characters are not allowed");
  return name;
}

// The project's own key that the path names.
std::optional<store::ApiKey> find_key(const Call& call) {
  for (store::ApiKey& key : call.core.keys.of_project(call.project.id))
    if (key.id == call.params.at(0)) return std::move(key);
  return std::nullopt;
}

}  // namespace

// The key that is shown is the caller's own: no other is known in plain text.
Task<Answer> list_teams(Call& call) {
  json::object team;
  team["teamID"] = call.project.id;
  team["name"] = call.project.name;
  team["apiKey"] = call.api_key;
  team["isDefault"] = true;
  json::array out;
  out.emplace_back(std::move(team));
  Answer answer = json_answer(200, out);
  answer.headers.set("Cache-Control", "no-store");
  co_return answer;
}

// E2B's former second kind of key. Its own answer where they are switched off.
Task<Answer> no_access_tokens(Call&) {
  co_return failure(410, "access tokens are not issued here; use an API key (POST /api-keys makes one)");
}

Task<Answer> list_keys(Call& call) {
  json::array out;
  for (const store::ApiKey& key : call.core.keys.of_project(call.project.id)) out.emplace_back(key_shape(key));
  co_return json_answer(200, out);
}

Task<Answer> create_key(Call& call) {
  auto body = co_await call.body();
  if (!body.ok()) co_return failure(body.error());
  const auto name = key_name(*body);
  if (!name.ok()) co_return invalid(name.error());
  Core& core = call.core;
  if (core.keys.of_project(call.project.id).size() >= kKeysMax)
    co_return failure(409, "this project has 100 API keys, the limit; delete one that is not used");
  NewKey key = make_key(call.project.id, *name, core.now_ms());
  auto write = [record = key.record](store::Store& s) { return s.add_key(record); };
  const auto written = co_await core.on_store(std::move(write));
  if (!written.ok()) co_return failure(written.error());
  core.keys.add(key.record);
  log_info("API key created", {{"project", call.project.id}, {"key", key.record.id}});
  json::object out = key_shape(key.record);
  out["key"] = key.plaintext;
  Answer answer = json_answer(201, out);
  answer.headers.set("Cache-Control", "no-store");
  co_return answer;
}

Task<Answer> rename_key(Call& call) {
  auto body = co_await call.body();
  if (!body.ok()) co_return failure(body.error());
  const auto name = key_name(*body);
  if (!name.ok()) co_return invalid(name.error());
  Core& core = call.core;
  auto key = find_key(call);
  if (!key) co_return failure(404, "the API key was not found");
  auto write = [project = call.project.id, id = key->id, name = *name](store::Store& s) { return s.rename_key(project, id, name); };
  const auto written = co_await core.on_store(std::move(write));
  if (!written.ok()) co_return failure(written.error());
  core.keys.rename(key->id, *name);
  key->name = *name;
  co_return json_answer(200, key_shape(*key));
}

Task<Answer> delete_key(Call& call) {
  Core& core = call.core;
  const std::string id = call.params.at(0);
  if (!find_key(call)) co_return failure(404, "the API key was not found");
  auto remove = [project = call.project.id, id](store::Store& s) { return s.remove_key(project, id); };
  const auto removed = co_await core.on_store(std::move(remove));
  if (!removed.ok()) co_return failure(removed.error());
  core.keys.remove(id);
  log_info("API key deleted", {{"project", call.project.id}, {"key", id}});
  co_return no_content();
}

}  // namespace atl::control
