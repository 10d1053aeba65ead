#include "rpc/h1_body.h"

#include <charconv>

namespace atl::rpc {
namespace {

constexpr std::size_t kTrailerBytesMax = 8 * 1024;
constexpr std::size_t kChunkLineMax = 1024;

// The status that a server answers travels in os_error (see h1_head.h).
Error refused(std::string message) {
  return Error{Errc::invalid, std::move(message), 400};
}

}  // namespace

std::string chunk_prefix(std::size_t size) {
  return fmt::format("{:x}\r\n", size);
}

BodyReader::BodyReader(BufferedReader& reader, Framing framing, std::uint64_t length)
    : reader_(reader),
      framing_(framing),
      state_(framing == Framing::chunked ? State::size : State::data),
      left_(length) {
  if (framing == Framing::none || (framing == Framing::length && length == 0)) state_ = State::ended;
}

std::optional<std::uint64_t> BodyReader::left() const {
  if (state_ == State::ended) return 0;
  return framing_ == Framing::length ? std::optional(left_) : std::nullopt;
}

// One line without its CR LF. A lone CR or LF in it could be a line's end to another parser.
Task<Result<std::string>> BodyReader::line(std::size_t bytes_max) {
  for (;;) {
    const auto text = reader_.buffered();
    const auto end = text.find('\n');
    if (end != std::string_view::npos && end <= bytes_max) {
      if (end == 0 || text.find('\r') != end - 1) co_return refused("a chunk's line ends without CR LF");
      std::string found(text.substr(0, end - 1));
      reader_.consume(end + 1);
      co_return found;
    }
    if (text.size() > bytes_max) co_return refused("a chunk's line is too long");
    CO_TRY(const bool more, co_await reader_.fill());
    if (!more) co_return make_error(Errc::unavailable, "the connection ended within a chunked body");
  }
}

Status BodyReader::take_size(std::string_view line) {
  // An extension may follow; spaces before it are refused, as others skip or keep them.
  const auto digits = line.substr(0, line.find(';'));
  std::uint64_t size = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), size, 16);
  if (digits.empty() || digits.size() > 15 || digits[0] == '-' || error != std::errc() ||
      end != digits.data() + digits.size())
    return refused("a chunk's size is no hexadecimal number");
  left_ = size;
  state_ = size > 0 ? State::data : State::trailers;
  return ok();
}

Task<Status> BodyReader::to_data() {
  while (state_ != State::data && state_ != State::ended) {
    const std::size_t bytes_max = state_ == State::after_data ? 2
                                  : state_ == State::size     ? kChunkLineMax
                                                              : kTrailerBytesMax;
    CO_TRY(const std::string text, co_await line(bytes_max));
    if (state_ == State::size) {
      CO_CHECK_OK(take_size(text));
    } else if (state_ == State::after_data) {
      if (!text.empty()) co_return refused("a chunk is longer than it said");
      state_ = State::size;
    } else {
      trailer_bytes_ += text.size() + 2;
      if (trailer_bytes_ > kTrailerBytesMax) co_return refused("the trailers are larger than 8 KiB");
      if (text.empty()) state_ = State::ended;
    }
  }
  co_return ok();
}

Task<Result<std::size_t>> BodyReader::read_data(std::span<char> into) {
  if (framing_ == Framing::chunked) CO_CHECK_OK(co_await to_data());
  if (state_ == State::ended) co_return std::size_t{0};
  const bool bounded = framing_ != Framing::until_close;
  if (bounded && into.size() > left_) into = into.first(left_);
  CO_TRY(const std::size_t n, co_await reader_.read_some(into));
  if (n == 0 && bounded) co_return make_error(Errc::unavailable, "the connection ended within a body");
  if (bounded) left_ -= n;
  if (framing_ == Framing::chunked && left_ == 0) state_ = State::after_data;
  if (n == 0 || (framing_ == Framing::length && left_ == 0)) state_ = State::ended;
  co_return n;
}

Task<Result<std::size_t>> BodyReader::read_some(std::span<char> into) {
  if (ended() || into.empty()) co_return std::size_t{0};
  if (state_ == State::failed) co_return refused("the body was malformed or cut before this read");
  auto got = co_await read_data(into);
  if (!got.ok()) state_ = State::failed;
  co_return got;
}

}  // namespace atl::rpc
