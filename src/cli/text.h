#pragma once
#include <boost/json/value.hpp>
#include <cstddef>
#include <string>
#include <string_view>

namespace atl::cli {

// Bytes from outside made safe for a terminal and for one table cell: control characters (C0, DEL,
// C1), bidirectional overrides, zero-width characters and line separators become "\x1b" or
// "\u{202e}", bytes that are no UTF-8 become "\xff"; all else is kept.
std::string printable(std::string_view text);

// Columns that printable text takes on a terminal (wide characters 2, combining marks 0).
std::size_t display_width(std::string_view text);

// At most `columns` columns of printable text; "…" marks what was cut.
std::string fit(std::string_view text, std::size_t columns);

// One line of JSON that is safe to look at on a terminal: what printable() would escape is \u-escaped.
std::string json_text(const boost::json::value& value);

// 'it'\''s' : one word for a POSIX shell, whatever is in it.
std::string shell_quote(std::string_view text);

}  // namespace atl::cli
