#pragma once
#include <span>
#include <string_view>

#include "control/answer.h"
#include "control/core.h"
#include "rpc/url.h"

namespace atl::control {

// One request on its way through a route. Lives in Api::handle until the reply is sent.
struct Call {
  Core& core;
  rpc::Exchange& exchange;
  const rpc::Target& target;
  store::Project project;             // a copy: keys are read again while handlers wait
  std::string api_key;                // as presented
  std::vector<std::string> params;    // the segments that "{}" stood for
  std::string_view not_built;         // Route::not_built

  // The whole body, bounded in bytes and time.
  Task<Result<std::string>> body();
};

enum class Access : std::uint8_t { open, key };

struct Route {
  std::string_view method;
  std::string_view pattern;  // "{}" is one segment
  Access access;
  Task<Answer> (*handler)(Call&);
  std::string_view not_built = "";  // for handlers that say what does not exist yet
};
std::span<const Route> routes();

struct Match {
  const Route* route = nullptr;
  std::vector<std::string> params;
  std::string allow;  // the path exists, with these methods; "" = it does not
};
Match find_route(std::string_view method, const std::vector<std::string>& segments);

// The sandbox that params[0] names: running, and this project's. Otherwise the 404 in `missing`.
struct Found {
  EntryPtr entry;
  Answer missing;
};
Found running_sandbox(const Call& call);
// The same for those that ended and are still remembered.
Found known_sandbox(const Call& call);

// Handlers, by file.
Task<Answer> create_v1(Call& call);  // sandboxes_create.cpp
Task<Answer> create_v2(Call& call);
Task<Answer> list_v1(Call& call);  // sandboxes_list.cpp
Task<Answer> list_v2(Call& call);
Task<Answer> get_sandbox(Call& call);  // sandboxes_one.cpp
Task<Answer> kill_sandbox(Call& call);
Task<Answer> put_network(Call& call);
Task<Answer> not_built_sandbox(Call& call);
Task<Answer> not_built(Call& call);
Task<Answer> connect_v1(Call& call);  // lifecycle.cpp
Task<Answer> connect_v2(Call& call);
Task<Answer> set_timeout(Call& call);
Task<Answer> refresh(Call& call);
Task<Answer> get_metrics(Call& call);  // metrics.cpp
Task<Answer> list_metrics(Call& call);
Task<Answer> logs_v1(Call& call);  // logs.cpp
Task<Answer> logs_v2(Call& call);
Task<Answer> list_templates(Call& call);  // templates.cpp
Task<Answer> list_templates_v2(Call& call);
Task<Answer> get_template(Call& call);
Task<Answer> get_alias(Call& call);
Task<Answer> list_teams(Call& call);  // account.cpp
Task<Answer> list_keys(Call& call);
Task<Answer> create_key(Call& call);
Task<Answer> rename_key(Call& call);
Task<Answer> delete_key(Call& call);
Task<Answer> no_access_tokens(Call& call);
Task<Answer> team_metrics(Call& call);  // team_metrics.cpp
Task<Answer> team_metrics_max(Call& call);
Task<Answer> list_nodes(Call& call);  // nodes.cpp
Task<Answer> get_node(Call& call);
Task<Answer> health(Call& call);  // own_routes.cpp
Task<Answer> tiers(Call& call);
Task<Answer> status(Call& call);
Task<Answer> get_receipt(Call& call);
Task<Answer> own_templates(Call& call);

}  // namespace atl::control
