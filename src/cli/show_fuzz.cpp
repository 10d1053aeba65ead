// What a sandbox or a daemon says on its way to a terminal: never a control character, always JSON,
// never wider than asked.
#include <cstdint>

#include "base/json.h"
#include "cli/backend.h"
#include "cli/connection.h"
#include "cli/copy_place.h"
#include "cli/daemon.h"
#include "cli/duration.h"
#include "cli/fields.h"
#include "cli/log_view.h"
#include "cli/text.h"

namespace {

using namespace atl;
using namespace atl::cli;

void require(bool holds) {
  if (!holds) __builtin_trap();
}

bool has_control(std::string_view text) {
  for (const unsigned char c : text)
    if (c < 0x20 || c == 0x7f) return true;
  return false;
}

void show(std::string_view bytes, std::size_t columns) {
  const std::string shown = printable(bytes);
  require(!has_control(shown));
  require(printable(shown) == shown);  // valid, safe UTF-8 is left as it is
  require(display_width(fit(shown, columns)) <= columns);
}

void read_reply(std::string_view bytes) {
  const auto value = parse_json(bytes);
  if (!value.ok()) return;
  const std::string text = json_text(*value);
  require(!has_control(text) && printable(text) == text);
  require(parse_json(text).ok());
  for (const auto& [key, shown] : flatten(*value)) require(!has_control(key) && !has_control(shown));
  require(!has_control(render_log_entry(*value, false).substr(0, render_log_entry(*value, false).size() - 1)));
  LogCursor cursor;
  const auto first = cursor.take(*value);
  if (first.ok()) require(cursor.take(*value)->size() <= first->size());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string bytes(reinterpret_cast<const char*>(data + 1), size - 1);
  show(bytes, data[0]);
  read_reply(bytes);
  const auto seconds = parse_duration(bytes);
  require(!seconds.ok() || *seconds >= 0);
  static_cast<void>(parse_rfc3339(bytes));
  static_cast<void>(parse_pid_file(bytes));
  static_cast<void>(configured_root(bytes));
  static_cast<void>(parse_credentials(bytes, "file"));
  static_cast<void>(CopyPlace::parse(bytes));
  static_cast<void>(error_of_reply(500, bytes, "x"));
  if (is_safe_name(bytes)) require(bytes.find('/') == std::string::npos && bytes != "..");
  return 0;
}
