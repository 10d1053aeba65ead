#include "agent/files/http_fields.h"

#include <algorithm>
#include <charconv>
#include <cstring>

#include "fmt/format.h"
#include "rpc/url.h"

namespace atl::agent {
namespace {

constexpr std::string_view kTokenMarks = "!#$%&'*+-.^_`|~";
constexpr std::string_view kDays[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
constexpr std::string_view kMonths[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                        "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

std::string_view trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

std::string_view cut_at(std::string_view& rest, char mark) {
  const std::size_t at = std::min(rest.find(mark), rest.size());
  const std::string_view part = trim(rest.substr(0, at));
  rest.remove_prefix(std::min(at + 1, rest.size()));
  return part;
}

template <class N>
std::optional<N> number(std::string_view text) {
  N value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// "q=0", "q=0.000" and the like refuse; all else accepts.
bool refused(std::string_view parameters) {
  while (!parameters.empty()) {
    std::string_view parameter = cut_at(parameters, ';');
    if (!rpc::iequals(cut_at(parameter, '='), "q")) continue;
    return !parameter.empty() && parameter.find_first_not_of("0.") == std::string_view::npos;
  }
  return false;
}

bool token(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           kTokenMarks.find(c) != std::string_view::npos;
  });
}

}  // namespace

Codings accepted_codings(const rpc::Headers& headers) {
  std::optional<bool> gzip, identity, any;
  for (const auto& [name, value] : headers.all()) {
    if (!rpc::iequals(name, "accept-encoding")) continue;
    std::string_view rest = value;
    while (!rest.empty()) {
      std::string_view item = cut_at(rest, ',');
      const std::string_view coding = cut_at(item, ';');
      const bool accepted = !refused(item);
      if (rpc::iequals(coding, "gzip") || rpc::iequals(coding, "x-gzip")) gzip = accepted;
      if (rpc::iequals(coding, "identity")) identity = accepted;
      if (coding == "*") any = accepted;
    }
  }
  return {gzip.value_or(any.value_or(false)), identity.value_or(any.value_or(true))};
}

RangeAnswer range_of(std::string_view field, std::uint64_t size) {
  field = trim(field);
  if (field.size() < 6 || !rpc::iequals(field.substr(0, 6), "bytes=")) return WholeFile{};
  std::string_view spec = trim(field.substr(6));
  if (spec.find(',') != std::string_view::npos || spec.find('-') == std::string_view::npos)
    return WholeFile{};
  const std::string_view from_text = cut_at(spec, '-');
  const auto from = number<std::uint64_t>(from_text), to = number<std::uint64_t>(spec);
  if ((!from && !from_text.empty()) || (!to && !spec.empty()) || (!from && !to)) return WholeFile{};
  if (!from) {  // the last `to` bytes
    if (*to == 0 || size == 0) return Unsatisfiable{};
    const std::uint64_t length = std::min(*to, size);
    return ByteRange{size - length, length};
  }
  if (to && *to < *from) return WholeFile{};
  if (*from >= size) return Unsatisfiable{};
  const std::uint64_t last = to ? std::min(*to, size - 1) : size - 1;
  return ByteRange{*from, last - *from + 1};
}

std::string http_date(std::time_t time) {
  std::tm tm = {};
  ::gmtime_r(&time, &tm);
  return fmt::format("{}, {:02} {} {:04} {:02}:{:02}:{:02} GMT", kDays[tm.tm_wday], tm.tm_mday,
                     kMonths[tm.tm_mon], tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
}

std::optional<std::time_t> parse_http_date(std::string_view text) {
  text = trim(text);
  if (text.size() != 29) return std::nullopt;
  const auto month = std::find(std::begin(kMonths), std::end(kMonths), text.substr(8, 3));
  const auto day = number<int>(text.substr(5, 2)), year = number<int>(text.substr(12, 4));
  const auto hour = number<int>(text.substr(17, 2)), minute = number<int>(text.substr(20, 2));
  const auto second = number<int>(text.substr(23, 2));
  if (month == std::end(kMonths) || !day || !year || !hour || !minute || !second) return std::nullopt;
  std::tm tm = {};
  tm.tm_mday = *day;
  tm.tm_mon = static_cast<int>(month - std::begin(kMonths));
  tm.tm_year = *year - 1900;
  tm.tm_hour = *hour;
  tm.tm_min = *minute;
  tm.tm_sec = *second;
  const std::time_t time = ::timegm(&tm);
  // Only what we would write ourselves is a date: this checks the marks and every field's range.
  if (time < 0 || http_date(time) != text) return std::nullopt;
  return time;
}

std::string content_disposition(std::string_view file_name) {
  const bool plain =
      std::all_of(file_name.begin(), file_name.end(), [](char c) { return c >= 0x20 && c < 0x7f; });
  if (!plain) return "inline; filename*=utf-8''" + rpc::percent_encode(file_name);
  if (token(file_name)) return "inline; filename=" + std::string(file_name);
  std::string quoted;
  for (char c : file_name) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c;
  }
  return "inline; filename=\"" + quoted + "\"";
}

std::string_view content_type_of(std::string_view file_name) {
  static constexpr std::pair<std::string_view, std::string_view> kTypes[] = {
      {"txt", "text/plain; charset=utf-8"},
      {"log", "text/plain; charset=utf-8"},
      {"md", "text/markdown; charset=utf-8"},
      {"html", "text/html; charset=utf-8"},
      {"htm", "text/html; charset=utf-8"},
      {"css", "text/css; charset=utf-8"},
      {"csv", "text/csv; charset=utf-8"},
      {"xml", "text/xml; charset=utf-8"},
      {"js", "text/javascript; charset=utf-8"},
      {"mjs", "text/javascript; charset=utf-8"},
      {"json", "application/json"},
      {"pdf", "application/pdf"},
      {"wasm", "application/wasm"},
      {"zip", "application/zip"},
      {"gz", "application/gzip"},
      {"png", "image/png"},
      {"jpg", "image/jpeg"},
      {"jpeg", "image/jpeg"},
      {"gif", "image/gif"},
      {"webp", "image/webp"},
      {"svg", "image/svg+xml"},
      {"mp4", "video/mp4"},
      {"mp3", "audio/mpeg"},
      {"wav", "audio/wav"}};
  const std::size_t dot = file_name.rfind('.');
  if (dot != std::string_view::npos)
    for (const auto& [ending, type] : kTypes)
      if (rpc::iequals(file_name.substr(dot + 1), ending)) return type;
  return "application/octet-stream";
}

}  // namespace atl::agent
