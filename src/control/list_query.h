#pragma once
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "rpc/url.h"
#include "store/records.h"

namespace atl::control {

// A place in a list that is ordered by time, then id; unix time in microseconds.
struct Cursor {
  std::int64_t unix_us = 0;
  std::string id;
  bool ascending = false;
  auto operator<=>(const Cursor&) const = default;
};
// base64url of RFC 3339 time + "__" + id, and "__asc" for the other order: E2B's form.
std::string cursor_text(const Cursor& cursor);
std::optional<Cursor> parse_cursor(std::string_view text);

struct ListQuery {
  bool running = true, paused = true;
  bool ascending = false;
  std::size_t limit = 100;
  std::optional<std::int64_t> started_after_us;  // inclusive
  std::optional<std::string> template_name;      // id or alias, without a tag
  std::optional<Cursor> after;
  store::Pairs metadata;  // all must be equal
};

// Errc::invalid names the parameter.
Result<ListQuery> parse_list_query(const rpc::Target& target);

// `value` as it is after the query's own decoding: the SDKs escape each key and value, and then
// the whole. Errc::invalid: not such text, or more than limits::metadata_entries_max pairs.
Result<store::Pairs> parse_metadata_filter(std::string_view value);

// A whole number of a query, or `otherwise` where it is absent.
Result<std::int64_t> query_int(const rpc::Target& target, std::string_view name, std::int64_t otherwise,
                               std::int64_t least, std::int64_t most);

}  // namespace atl::control
