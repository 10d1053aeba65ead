#include "rpc/h2_fields.h"

#include <charconv>

namespace atl::rpc {
namespace {

bool is_hop_field(std::string_view name) {
  static constexpr std::string_view kHop[] = {
      "connection", "keep-alive", "transfer-encoding", "upgrade", "te", "content-length", "host", "trailer"};
  if (name.size() > 6 && iequals(name.substr(0, 6), "proxy-")) return true;
  return std::any_of(std::begin(kHop), std::end(kHop), [&](auto hop) { return iequals(hop, name); });
}

bool is_safe(std::string_view name, std::string_view value) {
  return nghttp2_check_header_name(reinterpret_cast<const std::uint8_t*>(name.data()), name.size()) &&
         nghttp2_check_header_value(reinterpret_cast<const std::uint8_t*>(value.data()), value.size());
}

}  // namespace

void H2FieldList::add(std::string name, std::string value) {
  for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  fields_.emplace_back(std::move(name), std::move(value));
}

Status H2FieldList::add_all(const Headers& headers) {
  for (const auto& [name, value] : headers.all()) {
    if (is_hop_field(name)) continue;
    add(name, value);
    // A colon in front would make it a pseudo field.
    if (name.starts_with(':') || !is_safe(fields_.back().first, value))
      return make_error(Errc::invalid, "a header field with a byte that HTTP forbids was not sent");
  }
  return ok();
}

std::vector<nghttp2_nv> H2FieldList::list() {
  std::vector<nghttp2_nv> out;
  out.reserve(fields_.size());
  for (auto& [name, value] : fields_) {
    out.push_back({reinterpret_cast<std::uint8_t*>(name.data()),
                   reinterpret_cast<std::uint8_t*>(value.data()), name.size(), value.size(),
                   NGHTTP2_NV_FLAG_NONE});
  }
  return out;
}

std::optional<std::uint64_t> parse_decimal(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

void take_request_field(RequestHead& head, std::string_view name, std::string_view value) {
  if (name == ":method")
    head.method = value;
  else if (name == ":path")
    head.target = value;
  else if (name == ":authority")
    head.authority = value;
  else if (name == "host" && head.authority.empty())
    head.authority = value;
  else if (name == "content-length")
    head.content_length = parse_decimal(value);
  else if (!name.starts_with(':') && !is_hop_field(name))
    head.headers.add(name, value);
}

void take_reply_field(ReplyHead& head, std::string& status, std::string_view name, std::string_view value) {
  if (name == ":status")
    status = value;
  else if (name == "content-length")
    head.content_length = parse_decimal(value);
  else if (!name.starts_with(':') && !is_hop_field(name))
    head.headers.add(name, value);
}

}  // namespace atl::rpc
