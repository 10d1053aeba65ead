#pragma once
#include "rpc/message.h"

namespace atl::rpc {

// multipart/form-data, streamed (RFC 7578): part by part, nothing buffered beyond a boundary's
// length. Bounds: 1000 parts, 8 KiB of part head, boundary 1..70 characters.
class MultipartReader {
 public:
  struct Part {
    std::string name;
    std::optional<std::string> filename;
    Headers headers;
  };
  // nullopt: the content type is not multipart/form-data with a usable boundary.
  static std::optional<std::string> boundary_of(std::string_view content_type);

  MultipartReader(ByteSource& source, std::string boundary);
  // Skips what is left of the part before. nullopt = the closing boundary was read.
  Task<Result<std::optional<Part>>> next();
  // Bytes of the current part; 0 = its end.
  Task<Result<std::size_t>> read_some(std::span<char> into);

 private:
  Task<Status> fill(std::string_view missing);
  Task<Status> skip_to_delimiter();

  ByteSource& source_;
  std::string delimiter_;
  std::string buffered_;
  std::size_t parts_ = 0;
  bool in_part_ = false;
  bool ended_ = false;
  bool first_ = true;
  bool at_part_start_ = false;
};

}  // namespace atl::rpc
