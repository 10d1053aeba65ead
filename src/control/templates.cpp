#include "control/routes.h"
#include "control/shapes.h"

namespace atl::control {
namespace {

Answer no_template(std::string_view asked) {
  return failure(404, "template '" + std::string(asked.substr(0, 256)) + "' not found");
}

// Templates belong to the host. A page of another project's templates does not exist.
bool foreign_team(const Call& call) {
  const auto team = call.target.param("teamID");
  return team && !team->empty() && *team != call.project.id;
}

}  // namespace

Task<Answer> list_templates(Call& call) {
  if (foreign_team(call)) co_return failure(404, "this key's project is another one than teamID");
  json::array out;
  for (const Template& one : call.core.templates.all()) out.emplace_back(template_shape(call.core, one));
  co_return json_answer(200, out);
}

// Pages by name: the token is the last name of the page before.
Task<Answer> list_templates_v2(Call& call) {
  if (foreign_team(call)) co_return failure(404, "this key's project is another one than teamID");
  const auto limit = query_int(call.target, "limit", 100, 1, 100);
  if (!limit.ok()) co_return invalid(limit.error());
  const std::string after(call.target.param("nextToken").value_or(""));
  json::array out;
  Answer answer;
  std::string last;
  bool more = false;
  for (const Template& one : call.core.templates.all()) {
    if (!after.empty() && one.name <= after) continue;
    more = static_cast<std::int64_t>(out.size()) == *limit;
    if (more) break;
    last = one.name;
    out.emplace_back(template_shape(call.core, one));
  }
  answer = json_answer(200, out);
  if (more) answer.headers.set("X-Next-Token", rpc::percent_encode(last));
  co_return answer;
}

Task<Answer> get_template(Call& call) {
  const Template* found = call.core.templates.resolve(call.params.at(0), call.project);
  if (!found) co_return no_template(call.params.at(0));
  co_return json_answer(200, template_with_builds_shape(call.core, *found));
}

Task<Answer> get_alias(Call& call) {
  const Template* found = call.core.templates.resolve(call.params.at(0), call.project);
  if (!found) co_return no_template(call.params.at(0));
  json::object out;
  out["templateID"] = found->id;
  out["public"] = true;
  co_return json_answer(200, out);
}

}  // namespace atl::control
