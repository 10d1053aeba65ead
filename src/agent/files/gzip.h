#pragma once
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "rpc/message.h"

struct z_stream_s;

namespace atl::agent {

// Compresses a stream in pieces (RFC 1952, the fastest level: both ends are near each other).
// Memory is 256 KiB whatever the length.
class GzipWriter {
 public:
  GzipWriter();
  ~GzipWriter();
  // The compressed bytes that became ready; all of the rest when `last`.
  std::string add(std::string_view plain, bool last);

 private:
  std::unique_ptr<z_stream_s> stream_;
};

// A source that expands another one, member after member. However much the text expands, one call
// gives at most what fits into its buffer, so the bound is the sink's (the disk). Errc::invalid:
// not gzip, cut short, or a wrong checksum.
class GunzipSource : public rpc::ByteSource {
 public:
  explicit GunzipSource(rpc::ByteSource& packed);
  ~GunzipSource() override;
  Task<Result<std::size_t>> read_some(std::span<char> into) override;

 private:
  // Expands what is buffered; 0 with `needs_input_` set when there is nothing to give.
  Result<std::size_t> expand(std::span<char> into);

  rpc::ByteSource& packed_;
  std::unique_ptr<z_stream_s> stream_;
  std::unique_ptr<char[]> buffer_;
  bool packed_ended_ = false;
  bool in_member_ = false;
  bool any_member_ = false;
};

}  // namespace atl::agent
