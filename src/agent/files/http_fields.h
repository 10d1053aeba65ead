#pragma once
#include <cstdint>
#include <ctime>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "rpc/message.h"

// The HTTP header fields that downloads need (RFC 9110).
namespace atl::agent {

struct Codings {
  bool gzip = false;
  bool identity = true;  // stands unless refused
};
Codings accepted_codings(const rpc::Headers& headers);

struct ByteRange {
  std::uint64_t first = 0;
  std::uint64_t length = 0;  // at least 1
};
struct WholeFile {};
struct Unsatisfiable {};
using RangeAnswer = std::variant<WholeFile, ByteRange, Unsatisfiable>;
// One range of a file of `size` bytes. Several ranges, other units and nonsense mean the whole file,
// as RFC 9110 14.2 allows.
RangeAnswer range_of(std::string_view field, std::uint64_t size);

std::string http_date(std::time_t time);                            // "Sun, 06 Nov 1994 08:49:37 GMT"
std::optional<std::time_t> parse_http_date(std::string_view text);  // that form only

// inline, with the file's name in the form that its characters need (RFC 6266, RFC 8187).
std::string content_disposition(std::string_view file_name);
// By the name's ending; application/octet-stream where unknown.
std::string_view content_type_of(std::string_view file_name);

}  // namespace atl::agent
