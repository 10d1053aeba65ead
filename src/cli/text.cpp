#include "cli/text.h"

#include <fmt/format.h>

#include <boost/json/serialize.hpp>
#include <cmath>
#include <cstdint>

namespace atl::cli {
namespace {

struct Point {
  char32_t code = 0;
  std::size_t bytes = 1;
  bool valid = false;
};

// One code point at the start of `text` (not empty), by the table of RFC 3629: no overlong forms, no
// surrogates.
Point decode(std::string_view text) {
  const auto at = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = at(0);
  if (lead < 0x80) return {lead, 1, true};
  const std::size_t size = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || text.size() < size) return {lead, 1, false};
  char32_t code = lead & (0xff >> (size + 1));
  for (std::size_t i = 1; i < size; ++i) {
    if ((at(i) & 0xc0) != 0x80) return {lead, 1, false};
    code = code << 6 | (at(i) & 0x3f);
  }
  static constexpr char32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
  if (code < kLeast[size] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) return {lead, 1, false};
  return {code, size, true};
}

bool is_unsafe(char32_t c) {
  return c < 0x20 || (c >= 0x7f && c <= 0x9f) || c == 0xad || c == 0x061c || (c >= 0x200b && c <= 0x200f) ||
         (c >= 0x2028 && c <= 0x202e) || (c >= 0x2060 && c <= 0x206f) || c == 0xfeff ||
         (c >= 0xfff9 && c <= 0xfffb) || (c >= 0xe0000 && c <= 0xe0fff);
}

std::size_t point_width(char32_t c) {
  if ((c >= 0x300 && c <= 0x36f) || (c >= 0x1ab0 && c <= 0x1aff) || (c >= 0x20d0 && c <= 0x20ff) ||
      (c >= 0xfe00 && c <= 0xfe0f) || (c >= 0xfe20 && c <= 0xfe2f))
    return 0;
  const bool wide = (c >= 0x1100 && c <= 0x115f) || (c >= 0x2e80 && c <= 0x303e) || (c >= 0x3041 && c <= 0xa4cf) ||
                    (c >= 0xac00 && c <= 0xd7a3) || (c >= 0xf900 && c <= 0xfaff) || (c >= 0xfe30 && c <= 0xfe6f) ||
                    (c >= 0xff00 && c <= 0xff60) || (c >= 0xffe0 && c <= 0xffe6) ||
                    (c >= 0x1f300 && c <= 0x1faff) || (c >= 0x20000 && c <= 0x3fffd);
  return wide ? 2 : 1;
}

void append_json_escape(std::string& out, char32_t code) {
  if (code < 0x10000) {
    out += fmt::format("\\u{:04x}", static_cast<std::uint32_t>(code));
    return;
  }
  const std::uint32_t above = static_cast<std::uint32_t>(code) - 0x10000;
  out += fmt::format("\\u{:04x}\\u{:04x}", 0xd800 + (above >> 10), 0xdc00 + (above & 0x3ff));
}

// Boost reads 1e999 as infinity and writes that as "Infinity", which is not JSON: null, as
// JavaScript does. The depth is bounded by the parser.
void drop_infinities(boost::json::value& value) {
  if (value.is_double() && !std::isfinite(value.as_double())) value = nullptr;
  else if (value.is_array()) for (auto& item : value.as_array()) drop_infinities(item);
  else if (value.is_object()) for (auto& member : value.as_object()) drop_infinities(member.value());
}

}  // namespace

std::string printable(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const Point point = decode(text);
    if (!point.valid || point.code < 0x80) {
      const auto byte = static_cast<unsigned char>(text[0]);
      if (point.valid && !is_unsafe(point.code)) out += text[0];
      else if (byte == '\n') out += "\\n";
      else if (byte == '\t') out += "\\t";
      else if (byte == '\r') out += "\\r";
      else out += fmt::format("\\x{:02x}", byte);
    } else if (is_unsafe(point.code)) {
      out += fmt::format("\\u{{{:x}}}", static_cast<std::uint32_t>(point.code));
    } else {
      out += text.substr(0, point.bytes);
    }
    text.remove_prefix(point.bytes);
  }
  return out;
}

std::size_t display_width(std::string_view text) {
  std::size_t width = 0;
  while (!text.empty()) {
    const Point point = decode(text);
    width += point.valid ? point_width(point.code) : 1;
    text.remove_prefix(point.bytes);
  }
  return width;
}

std::string fit(std::string_view text, std::size_t columns) {
  if (display_width(text) <= columns) return std::string(text);
  if (columns == 0) return "";
  std::string out;
  std::size_t width = 0;
  while (!text.empty()) {
    const Point point = decode(text);
    const std::size_t next = point.valid ? point_width(point.code) : 1;
    if (width + next > columns - 1) break;
    width += next;
    out += text.substr(0, point.bytes);
    text.remove_prefix(point.bytes);
  }
  return out + "…";
}

std::string json_text(const boost::json::value& value) {
  boost::json::value finite = value;
  drop_infinities(finite);
  const std::string plain = boost::json::serialize(finite);
  std::string out;
  out.reserve(plain.size());
  std::string_view rest = plain;
  while (!rest.empty()) {
    const Point point = decode(rest);
    if (point.valid && is_unsafe(point.code)) append_json_escape(out, point.code);
    else if (!point.valid) out += "\\ufffd";
    else out += rest.substr(0, point.bytes);
    rest.remove_prefix(point.bytes);
  }
  return out;
}

std::string shell_quote(std::string_view text) {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'') out += "'\\''";
    else out += c;
  }
  return out + "'";
}

}  // namespace atl::cli
