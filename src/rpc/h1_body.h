#pragma once
#include "rpc/h1_head.h"

namespace atl::rpc {

// Decodes a body by its framing. 0 = the end. A cancelled read can be repeated; an error stays.
class BodyReader {
 public:
  BodyReader(BufferedReader& reader, Framing framing, std::uint64_t length);
  Task<Result<std::size_t>> read_some(std::span<char> into);
  bool ended() const { return state_ == State::ended; }
  // What is known to be still to come; nullopt where only the end will tell.
  std::optional<std::uint64_t> left() const;

 private:
  // Of a chunked body: what the next bytes are.
  enum class State : std::uint8_t { size, data, after_data, trailers, ended, failed };

  Task<Result<std::size_t>> read_data(std::span<char> into);
  Task<Status> to_data();  // reads lines until there is data, or the end
  Status take_size(std::string_view line);
  Task<Result<std::string>> line(std::size_t bytes_max);

  BufferedReader& reader_;
  Framing framing_;
  State state_;
  std::uint64_t left_;  // of the body, or of the present chunk
  std::size_t trailer_bytes_ = 0;
};

std::string chunk_prefix(std::size_t size);

}  // namespace atl::rpc
