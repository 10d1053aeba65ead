#include "rpc/url.h"

namespace atl::rpc {
namespace {

constexpr std::size_t kPartsMax = 256;

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool unreserved(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
         c == '_' || c == '~';
}

Error bad_escape(std::string_view part) {
  return make_error(Errc::invalid, "bad percent escape in '" + std::string(part.substr(0, 80)) + "'");
}

Status parse_path(std::string_view path, Target& target) {
  if (path.empty() || path[0] != '/') return make_error(Errc::invalid, "the path must start with '/'");
  path.remove_prefix(1);
  for (;;) {
    const auto slash = path.find('/');
    const auto part = path.substr(0, slash);
    auto decoded = percent_decode(part, false);
    if (!decoded) return bad_escape(part);
    if (target.segments.size() == kPartsMax) return make_error(Errc::invalid, "more than 256 path segments");
    target.segments.push_back(std::move(*decoded));
    if (slash == std::string_view::npos) return ok();
    path.remove_prefix(slash + 1);
  }
}

Status parse_query(std::string_view query, Target& target) {
  while (!query.empty()) {
    const auto amp = query.find('&');
    const auto pair = query.substr(0, amp);
    const auto equals = pair.find('=');
    auto key = percent_decode(pair.substr(0, equals), true);
    auto value = percent_decode(equals == std::string_view::npos ? "" : pair.substr(equals + 1), true);
    if (!key || !value) return bad_escape(pair);
    if (target.query.size() == kPartsMax) return make_error(Errc::invalid, "more than 256 query parameters");
    if (!pair.empty()) target.query.emplace_back(std::move(*key), std::move(*value));
    query.remove_prefix(amp == std::string_view::npos ? query.size() : amp + 1);
  }
  return ok();
}

}  // namespace

std::optional<std::string> percent_decode(std::string_view text, bool plus_is_space) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c == '%') {
      if (i + 2 >= text.size()) return std::nullopt;
      const int high = hex_digit(text[i + 1]), low = hex_digit(text[i + 2]);
      if (high < 0 || low < 0) return std::nullopt;
      c = static_cast<char>(high * 16 + low);
      i += 2;
    } else if (c == '+' && plus_is_space) {
      c = ' ';
    }
    if (c == '\0') return std::nullopt;
    out += c;
  }
  return out;
}

std::string percent_encode(std::string_view text) {
  constexpr std::string_view digits = "0123456789ABCDEF";
  std::string out;
  for (char c : text) {
    if (unreserved(c)) {
      out += c;
    } else {
      out += '%';
      out += digits[static_cast<unsigned char>(c) >> 4];
      out += digits[static_cast<unsigned char>(c) & 15];
    }
  }
  return out;
}

std::optional<std::string_view> Target::param(std::string_view name) const {
  for (const auto& [key, value] : query)
    if (key == name) return value;
  return std::nullopt;
}

Result<Target> parse_target(std::string_view text) {
  Target target;
  const auto question = text.find('?');
  target.raw_path = text.substr(0, question);
  target.raw_query = question == std::string_view::npos ? std::string_view() : text.substr(question + 1);
  CHECK_OK(parse_path(target.raw_path, target));
  CHECK_OK(parse_query(target.raw_query, target));
  return target;
}

}  // namespace atl::rpc
