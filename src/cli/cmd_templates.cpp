// templates: what sandboxes can start from.
#include "cli/commands.h"
#include "cli/exits.h"
#include "cli/fields.h"
#include "cli/table.h"
#include "cli/text.h"

namespace atl::cli {
namespace {

std::string name_of(const json::value& one) {
  const json::value* names = member_of(one, "names");
  if (!names || !names->is_array() || names->as_array().empty()) return "";
  const json::value& first = names->as_array()[0];
  return first.is_string() ? printable(first.as_string()) : "";
}

std::string with_unit(const json::value& one, std::string_view key) {
  const std::string number = printable(text_field(one, key));
  return number.empty() ? "" : number + " MB";
}

// nullopt: the daemon does not say, as E2B's own API. "" in its answer is `auto`.
std::optional<std::string> tier_in(const json::value& one) {
  const json::value* atoll = member_of(one, "atoll");
  if (!atoll || !member_of(*atoll, "tier")) return std::nullopt;
  const std::string tier = text_field(*atoll, "tier");
  return tier.empty() ? "auto" : printable(tier);
}

Table table_of(const json::array& templates) {
  const bool with_tier = tier_in(templates[0]).has_value();
  std::vector<Column> columns = {{"NAME", false, 8}, {"ID"}, {"CPU", true}, {"MEMORY", true}, {"DISK", true}, {"CREATED"}};
  if (with_tier) columns.insert(columns.begin() + 2, Column{"TIER"});
  Table table(std::move(columns));
  for (const json::value& one : templates) {
    std::vector<std::string> cells = {name_of(one), printable(text_field(one, "templateID")),
                                      printable(text_field(one, "cpuCount")), with_unit(one, "memoryMB"),
                                      with_unit(one, "diskSizeMB"), printable(text_field(one, "createdAt"))};
    if (with_tier) cells.insert(cells.begin() + 2, tier_in(one).value_or(""));
    table.add(std::move(cells));
  }
  return table;
}

}  // namespace

Task<Result<int>> execute(Context& context, TemplatesOptions options) {
  CO_TRY(const auto backend, context.connect());
  CO_TRY(const auto reply, co_await backend->rest("GET", "/templates"));
  if (!reply.body.is_array()) co_return make_error(Errc::internal, "GET /templates: the answer is not an array");
  if (options.as_json) {
    CO_CHECK_OK(co_await context.print(json_text(reply.body) + "\n"));
  } else if (reply.body.as_array().empty()) {
    co_await context.note("no templates; build one with: templates/build base --root DIR");
  } else {
    const Table table = table_of(reply.body.as_array());
    CO_CHECK_OK(co_await context.print(
        table.render(context.console.columns(Stream::out), context.console.colour(Stream::out))));
  }
  co_return kExitOk;
}

}  // namespace atl::cli
