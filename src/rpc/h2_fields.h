#pragma once
#include <nghttp2/nghttp2.h>

#include <deque>

#include "rpc/message.h"

namespace atl::rpc {

// Fields for nghttp2, which copies them. Names are lowered as HTTP/2 wants; fields that belong to one
// HTTP/1.1 connection are left out.
class H2FieldList {
 public:
  void add(std::string name, std::string value);
  // Errc::invalid when a name or value has a byte that HTTP forbids (line breaks, NUL).
  Status add_all(const Headers& headers);
  std::vector<nghttp2_nv> list();

 private:
  std::deque<std::pair<std::string, std::string>> fields_;
};

std::optional<std::uint64_t> parse_decimal(std::string_view text);
// One field of a head as it arrives, pseudo fields included; hop-by-hop ones are dropped.
void take_request_field(RequestHead& head, std::string_view name, std::string_view value);
void take_reply_field(ReplyHead& head, std::string& status, std::string_view name, std::string_view value);

}  // namespace atl::rpc
