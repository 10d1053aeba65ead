// ls, info, tiers: what there is.
#include <fmt/format.h>

#include "cli/commands.h"
#include "cli/duration.h"
#include "cli/exits.h"
#include "cli/fields.h"
#include "cli/table.h"
#include "cli/text.h"

namespace atl::cli {
namespace {

std::int64_t now_s(const Context& context) { return unix_millis(context.clock.wall()) / 1000; }

// "3m 5s" of the RFC 3339 time in `key`, before now (ago) or after it; "-" where there is none.
std::string span_of(const json::value& sandbox, std::string_view key, std::int64_t now, bool ago) {
  const auto at = parse_rfc3339(text_field(sandbox, key));
  if (!at.ok()) return "-";
  return format_duration(ago ? now - *at : *at - now);
}

std::string template_name(const json::value& sandbox) {
  const std::string alias = text_field(sandbox, "alias");
  return printable(alias.empty() ? text_field(sandbox, "templateID") : alias);
}

std::string metadata_cell(const json::value& sandbox) {
  const json::value* metadata = member_of(sandbox, "metadata");
  if (!metadata || !metadata->is_object()) return "";
  std::string out;
  for (const auto& [name, value] : metadata->as_object()) {
    if (!out.empty()) out += " ";
    out += printable(name) + "=" + printable(value.is_string() ? std::string_view(value.as_string()) : "?");
  }
  return out;
}

Table sandbox_table(const json::array& sandboxes, std::int64_t now) {
  Table table({{"ID"}, {"TEMPLATE", false, 8}, {"STATE"}, {"TIER"}, {"CPU", true}, {"MEMORY", true}, {"STARTED", true},
               {"ENDS IN", true}, {"METADATA", false, 8}});
  for (const json::value& sandbox : sandboxes) {
    const std::string memory = text_field(sandbox, "memoryMB");
    table.add({printable(text_field(sandbox, "sandboxID")), template_name(sandbox),
               printable(text_field(sandbox, "state")), printable(tier_of(sandbox)),
               printable(text_field(sandbox, "cpuCount")), memory.empty() ? "" : printable(memory) + " MB",
               span_of(sandbox, "startedAt", now, true), span_of(sandbox, "endAt", now, false),
               metadata_cell(sandbox)});
  }
  return table;
}

}  // namespace

Task<Result<int>> execute(Context& context, ListOptions options) {
  CO_TRY(const auto backend, context.connect());
  CO_TRY(const auto listing, co_await backend->list(options.state, options.metadata, options.all));
  if (options.as_json) {
    CO_CHECK_OK(co_await context.print(json_text(listing.sandboxes) + "\n"));
  } else if (listing.sandboxes.empty()) {
    co_await context.note("no sandboxes; start one with: atoll create");
  } else {
    const Table table = sandbox_table(listing.sandboxes, now_s(context));
    CO_CHECK_OK(co_await context.print(
        table.render(context.console.columns(Stream::out), context.console.colour(Stream::out))));
  }
  if (listing.more) co_await context.note("there are more; --all shows every page");
  co_return kExitOk;
}

Task<Result<int>> execute(Context& context, InfoOptions options) {
  CO_TRY(const auto backend, context.connect());
  CO_TRY(json::value detail, co_await backend->detail(options.id));
  if (options.as_json) {
    CO_CHECK_OK(co_await context.print(json_text(detail) + "\n"));
    co_return kExitOk;
  }
  // A token on a screen is a token in a screenshot; --json has it for programs.
  if (detail.is_object()) detail.as_object().erase("envdAccessToken");
  auto fields = flatten(detail);
  fields.emplace_back("ends in", span_of(detail, "endAt", now_s(context), false));
  CO_CHECK_OK(co_await context.print(render_fields(fields)));
  co_return kExitOk;
}

Task<Result<int>> execute(Context& context, TiersOptions options) {
  CO_TRY(const auto backend, context.connect());
  CO_TRY(const auto reply, co_await backend->rest("GET", "/atoll/v1/tiers"));
  if (options.as_json) {
    CO_CHECK_OK(co_await context.print(json_text(reply.body) + "\n"));
    co_return kExitOk;
  }
  const json::value* tiers = reply.body.is_array() ? &reply.body : member_of(reply.body, "tiers");
  if (!tiers || !tiers->is_array())
    co_return make_error(Errc::internal, "GET /atoll/v1/tiers: the answer holds no list of tiers");
  Table table({{"TIER"}, {"WORKS"}, {"AUTO"}, {"RUNTIME"}, {"VERSION", false, 10}, {"HOLDS AGAINST"},
               {"WHY NOT", false, 16}});
  for (const json::value& tier : tiers->as_array()) {
    const bool works = text_field(tier, "works") == "true";
    table.add({printable(text_field(tier, "name")), works ? "yes" : "no",
               text_field(tier, "auto") == "true" ? "yes" : "", printable(text_field(tier, "runtime")),
               printable(text_field(tier, "version")), printable(text_field(tier, "posture")),
               works ? "" : printable(text_field(tier, "reason"))});
  }
  CO_CHECK_OK(co_await context.print(
      table.render(context.console.columns(Stream::out), context.console.colour(Stream::out))));
  co_return kExitOk;
}

}  // namespace atl::cli
