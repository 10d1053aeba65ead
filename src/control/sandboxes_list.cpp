#include "control/routes.h"
#include "control/shapes.h"

namespace atl::control {
namespace {

// A template that is gone may still have sandboxes: its id stays usable as a filter.
std::set<std::string> template_ids(const Call& call, const ListQuery& query) {
  std::set<std::string> out;
  if (!query.template_name) return out;
  out.insert(*query.template_name);
  if (const Template* found = call.core.templates.resolve(*query.template_name, call.project)) out.insert(found->id);
  return out;
}

Answer listing(const SandboxIndex::Page& page) {
  json::array out;
  out.reserve(page.entries.size());
  for (const EntryPtr& entry : page.entries) out.emplace_back(listed_shape(entry->row));
  return json_answer(200, out);
}

}  // namespace

Task<Answer> list_v2(Call& call) {
  const auto query = parse_list_query(call.target);
  if (!query.ok()) co_return invalid(query.error());
  const auto page = call.core.index.list(call.project.id, *query, template_ids(call, *query));
  Answer answer = listing(page);
  // Clients page for as long as the header is there.
  if (page.next) answer.headers.set("X-Next-Token", cursor_text(*page.next));
  if (query->running) answer.headers.set("X-Total-Running", std::to_string(page.running_total));
  co_return answer;
}

// Without pages: as long as the project's list is, which its quota bounds.
Task<Answer> list_v1(Call& call) {
  ListQuery query;
  query.limit = std::numeric_limits<std::size_t>::max();
  if (const auto metadata = call.target.param("metadata")) {
    auto wanted = parse_metadata_filter(*metadata);
    if (!wanted.ok()) co_return invalid(wanted.error());
    query.metadata = std::move(*wanted);
  }
  const auto page = call.core.index.list(call.project.id, query, {});
  Answer answer = listing(page);
  answer.headers.set("X-Total-Running", std::to_string(page.running_total));
  co_return answer;
}

}  // namespace atl::control
