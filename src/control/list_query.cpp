#include "control/list_query.h"

#include <charconv>

#include "base/crypto.h"
#include "base/limits.h"
#include "control/ids.h"
#include "control/time_text.h"

namespace atl::control {
namespace {

constexpr std::size_t kCursorBytesMax = 256;
constexpr std::string_view kAscending = "__asc";

Error refuse(std::string_view parameter, std::string_view why) {
  return make_error(Errc::invalid, "query parameter " + std::string(parameter) + ": " + std::string(why));
}

Result<std::string> decode(std::string_view text) {
  auto decoded = rpc::percent_decode(text, true);
  if (!decoded) return refuse("metadata", "a bad percent escape");
  return std::move(*decoded);
}

Status read_states(std::string_view text, ListQuery& out) {
  out.running = out.paused = false;
  while (true) {
    const auto comma = text.find(',');
    const std::string_view state = text.substr(0, comma);
    if (state == "running") out.running = true;
    else if (state == "paused") out.paused = true;
    else return refuse("state", "expected running, paused or both joined by a comma");
    if (comma == std::string_view::npos) return ok();
    text.remove_prefix(comma + 1);
  }
}

Status read_order(const rpc::Target& target, ListQuery& out) {
  const auto order = target.param("order");
  if (!order || *order == "desc") return ok();
  if (*order != "asc") return refuse("order", "expected asc or desc");
  out.ascending = true;
  return ok();
}

}  // namespace

std::string cursor_text(const Cursor& cursor) {
  // Times are kept in milliseconds, so that their text has no more.
  std::string text = rfc3339(cursor.unix_us / 1000) + "__" + cursor.id;
  if (cursor.ascending) text += kAscending;
  return base64url(text);
}

std::optional<Cursor> parse_cursor(std::string_view token) {
  if (token.empty() || token.size() > kCursorBytesMax) return std::nullopt;
  const auto decoded = base64url_decode(token);
  if (!decoded) return std::nullopt;
  std::string_view text = *decoded;
  Cursor cursor;
  if (text.ends_with(kAscending)) {
    cursor.ascending = true;
    text.remove_suffix(kAscending.size());
  }
  const auto cut = text.find("__");
  if (cut == std::string_view::npos) return std::nullopt;
  const auto time = parse_rfc3339_us(text.substr(0, cut));
  if (!time || !valid_id(text.substr(cut + 2))) return std::nullopt;
  cursor.unix_us = *time;
  cursor.id = text.substr(cut + 2);
  return cursor;
}

Result<store::Pairs> parse_metadata_filter(std::string_view value) {
  TRY(const std::string whole, decode(value));
  store::Pairs out;
  std::string_view rest = whole;
  while (!rest.empty()) {
    const auto end = rest.find('&');
    const std::string_view pair = rest.substr(0, end);
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    if (pair.empty()) continue;
    if (out.size() == limits::metadata_entries_max) return refuse("metadata", "more than 256 pairs");
    const auto equals = pair.find('=');
    TRY(std::string key, decode(pair.substr(0, equals)));
    TRY(std::string wanted, decode(equals == std::string_view::npos ? "" : pair.substr(equals + 1)));
    out.emplace_back(std::move(key), std::move(wanted));
  }
  return out;
}

Result<std::int64_t> query_int(const rpc::Target& target, std::string_view name, std::int64_t otherwise,
                               std::int64_t least, std::int64_t most) {
  const auto text = target.param(name);
  if (!text || text->empty()) return otherwise;
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (error != std::errc() || end != text->data() + text->size()) return refuse(name, "expected a whole number");
  if (value < least || value > most)
    return refuse(name, std::to_string(value) + " is not within " + std::to_string(least) + ".." + std::to_string(most));
  return value;
}

Result<ListQuery> parse_list_query(const rpc::Target& target) {
  ListQuery out;
  if (const auto states = target.param("state")) CHECK_OK(read_states(*states, out));
  CHECK_OK(read_order(target, out));
  TRY(const auto limit, query_int(target, "limit", 100, 1, 100));
  out.limit = static_cast<std::size_t>(limit);
  if (const auto time = target.param("startedAfter")) {
    out.started_after_us = parse_rfc3339_us(*time);
    if (!out.started_after_us) return refuse("startedAfter", "expected an RFC 3339 time such as 2026-01-31T12:00:00Z");
  }
  if (const auto name = target.param("template")) {
    if (name->find(':') != std::string_view::npos) return refuse("template", "an id or a name without a tag is expected");
    out.template_name = std::string(*name);
  }
  if (const auto token = target.param("nextToken"); token && !token->empty()) {
    out.after = parse_cursor(*token);
    if (!out.after) return refuse("nextToken", "not a token of this list; use the X-Next-Token of the page before");
    if (out.after->ascending != out.ascending) return refuse("nextToken", "it belongs to a list of the other order");
  }
  if (const auto metadata = target.param("metadata")) { TRY(out.metadata, parse_metadata_filter(*metadata)); }
  return out;
}

}  // namespace atl::control
