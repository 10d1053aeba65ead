#include <cstdint>
#include <cstdlib>

#include "base/limits.h"
#include "control/ids.h"
#include "control/list_query.h"
#include "control/routes.h"
#include "control/time_text.h"

// Targets, list queries, cursors, ids and times.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto id = atl::control::sandbox_id_of(text); id && !atl::control::valid_id(*id)) std::abort();
  if (const auto cursor = atl::control::parse_cursor(text)) {
    if (!atl::control::valid_id(cursor->id) || cursor->unix_us < 0) std::abort();
    // Times are cut to milliseconds when written, so one round must be the last that changes it.
    const auto once = atl::control::parse_cursor(atl::control::cursor_text(*cursor));
    if (!once || once->id != cursor->id || once->ascending != cursor->ascending) std::abort();
  }
  (void)atl::control::parse_rfc3339_us(text);
  const auto target = atl::rpc::parse_target(text);
  if (!target.ok()) return 0;
  const auto match = atl::control::find_route("GET", target->segments);
  if (match.route && match.params.size() > 2) std::abort();
  const auto query = atl::control::parse_list_query(*target);
  if (!query.ok()) return 0;
  if (query->limit < 1 || query->limit > 100) std::abort();
  if (query->metadata.size() > atl::limits::metadata_entries_max) std::abort();
  return 0;
}
