#include "rpc/multipart.h"

#include <cstring>

namespace atl::rpc {
namespace {

constexpr std::size_t kPartsMax = 1000;
constexpr std::size_t kPartHeadMax = 8 * 1024;
constexpr std::size_t kBoundaryMax = 70;
constexpr std::size_t kReadSize = 64 * 1024;

Error malformed(std::string_view what) {
  return make_error(Errc::invalid, "multipart body: " + std::string(what));
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

// `; key=value; key="va\"lue"` after the first token of a header value.
std::optional<std::string> parameter(std::string_view value, std::string_view key) {
  auto at = value.find(';');
  while (at != std::string_view::npos) {
    value.remove_prefix(at + 1);
    const auto equals = value.find('=');
    if (equals == std::string_view::npos) return std::nullopt;
    const auto name = trim(value.substr(0, equals));
    value = trim(value.substr(equals + 1));
    std::string found;
    if (!value.empty() && value.front() == '"') {
      std::size_t i = 1;
      for (; i < value.size() && value[i] != '"'; ++i) {
        // Browsers and SDKs escape a quote only; a lone backslash is part of the name.
        if (value[i] == '\\' && i + 1 < value.size() && (value[i + 1] == '"' || value[i + 1] == '\\')) ++i;
        found += value[i];
      }
      if (i == value.size()) return std::nullopt;
      value.remove_prefix(i + 1);
      at = value.find(';');
    } else {
      at = value.find(';');
      found = trim(value.substr(0, at));
    }
    if (iequals(name, key)) return found;
  }
  return std::nullopt;
}

Result<MultipartReader::Part> parse_head(std::string_view head) {
  MultipartReader::Part part;
  while (!head.empty()) {
    const auto end = head.find("\r\n");
    const auto line = head.substr(0, end);
    const auto colon = line.find(':');
    if (colon == std::string_view::npos) return malformed("a part's header has no colon");
    part.headers.add(trim(line.substr(0, colon)), trim(line.substr(colon + 1)));
    head.remove_prefix(end == std::string_view::npos ? head.size() : end + 2);
  }
  const auto disposition = part.headers.get_or("content-disposition", "");
  if (!iequals(trim(disposition.substr(0, disposition.find(';'))), "form-data"))
    return malformed("a part has no Content-Disposition: form-data");
  part.name = parameter(disposition, "name").value_or("");
  part.filename = parameter(disposition, "filename");
  return part;
}

}  // namespace

std::optional<std::string> MultipartReader::boundary_of(std::string_view content_type) {
  if (!iequals(trim(content_type.substr(0, content_type.find(';'))), "multipart/form-data"))
    return std::nullopt;
  auto boundary = parameter(content_type, "boundary");
  if (!boundary || boundary->empty() || boundary->size() > kBoundaryMax) return std::nullopt;
  if (boundary->find_first_of("\r\n") != std::string::npos) return std::nullopt;
  return boundary;
}

MultipartReader::MultipartReader(ByteSource& source, std::string boundary)
    // The first delimiter has no line break before it; a made-up one makes it like the others.
    : source_(source), delimiter_("\r\n--" + boundary), buffered_("\r\n") {}

Task<Status> MultipartReader::fill(std::string_view missing) {
  const std::size_t had = buffered_.size();
  buffered_.resize(had + kReadSize);
  auto got = co_await source_.read_some(std::span(buffered_).subspan(had));
  buffered_.resize(had + (got.ok() ? *got : 0));
  if (!got.ok()) co_return std::move(got).error();
  if (*got == 0) co_return malformed("it ended before " + std::string(missing));
  co_return ok();
}

// Consumes up to and including the next delimiter, dropping what is before it.
Task<Status> MultipartReader::skip_to_delimiter() {
  for (;;) {
    const auto at = buffered_.find(delimiter_);
    if (at != std::string::npos) {
      buffered_.erase(0, at + delimiter_.size());
      in_part_ = false;
      co_return ok();
    }
    if (buffered_.size() > delimiter_.size()) buffered_.erase(0, buffered_.size() - delimiter_.size());
    CO_CHECK_OK(co_await fill("the closing boundary"));
  }
}

Task<Result<std::optional<MultipartReader::Part>>> MultipartReader::next() {
  if (ended_) co_return std::optional<Part>();
  if (first_ || in_part_) CO_CHECK_OK(co_await skip_to_delimiter());
  first_ = false;
  while (buffered_.size() < 2) CO_CHECK_OK(co_await fill("the closing boundary"));
  if (buffered_.starts_with("--")) {
    ended_ = true;
    co_return std::optional<Part>();
  }
  if (++parts_ > kPartsMax) co_return malformed("more than 1000 parts");
  for (;;) {
    // Spaces may follow a boundary (RFC 2046); the head is between its line's end and an empty line.
    const auto line_end = buffered_.find("\r\n");
    const auto head_end = line_end == std::string::npos ? line_end : buffered_.find("\r\n\r\n", line_end);
    if (head_end != std::string::npos && head_end <= kPartHeadMax) {
      if (!trim(std::string_view(buffered_).substr(0, line_end)).empty())
        co_return malformed("text after a boundary");
      const std::size_t head_begin = std::min(line_end + 2, head_end);
      CO_TRY(Part part, parse_head(std::string_view(buffered_).substr(head_begin, head_end - head_begin)));
      // The last line break of the head may open the delimiter of an empty part, so one is kept.
      buffered_.erase(0, head_end + 4);
      buffered_.insert(0, "\r\n");
      at_part_start_ = true;
      in_part_ = true;
      co_return std::optional<Part>(std::move(part));
    }
    if (buffered_.size() > kPartHeadMax + 4) co_return malformed("a part's head is larger than 8 KiB");
    CO_CHECK_OK(co_await fill("the end of a part's head"));
  }
}

Task<Result<std::size_t>> MultipartReader::read_some(std::span<char> into) {
  if (!in_part_ || into.empty()) co_return std::size_t{0};
  if (at_part_start_) {
    // An empty part: its delimiter follows the kept line break at once.
    while (buffered_.size() < delimiter_.size()) CO_CHECK_OK(co_await fill("the closing boundary"));
    at_part_start_ = false;
    if (buffered_.starts_with(delimiter_)) {
      buffered_.erase(0, delimiter_.size());
      in_part_ = false;
      co_return std::size_t{0};
    }
    buffered_.erase(0, 2);
  }
  for (;;) {
    const auto at = buffered_.find(delimiter_);
    const std::size_t sure = at != std::string::npos ? at
                             : buffered_.size() >= delimiter_.size()
                                 ? buffered_.size() - delimiter_.size() + 1
                                 : 0;
    if (sure > 0) {
      const std::size_t n = std::min(sure, into.size());
      std::memcpy(into.data(), buffered_.data(), n);
      buffered_.erase(0, n);
      co_return n;
    }
    if (at == 0) {
      buffered_.erase(0, delimiter_.size());
      in_part_ = false;
      co_return std::size_t{0};
    }
    CO_CHECK_OK(co_await fill("the closing boundary"));
  }
}

}  // namespace atl::rpc
