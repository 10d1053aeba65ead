#include "agent/files/gzip.h"

#include <zlib.h>

#include <stdexcept>

namespace atl::agent {
namespace {

constexpr int kGzipWindow = 15 + 16;  // 32 KiB window, gzip's wrapping
constexpr std::size_t kPackedBytes = 64 * 1024;
// Expanding runs on the loop: at most this much in one go, about a millisecond.
constexpr std::size_t kExpandBytesMax = 256 * 1024;

}  // namespace

GzipWriter::GzipWriter() : stream_(std::make_unique<z_stream>()) {
  if (::deflateInit2(stream_.get(), 1, Z_DEFLATED, kGzipWindow, 8, Z_DEFAULT_STRATEGY) != Z_OK)
    throw std::runtime_error("deflateInit2 failed: no memory, or a zlib of another version");
}

GzipWriter::~GzipWriter() {
  ::deflateEnd(stream_.get());
}

std::string GzipWriter::add(std::string_view plain, bool last) {
  std::string out;
  stream_->next_in = reinterpret_cast<Bytef*>(const_cast<char*>(plain.data()));
  stream_->avail_in = static_cast<uInt>(plain.size());
  int outcome = Z_OK;
  do {
    const std::size_t had = out.size();
    out.resize(had + ::deflateBound(stream_.get(), stream_->avail_in) + 64);
    stream_->next_out = reinterpret_cast<Bytef*>(out.data() + had);
    stream_->avail_out = static_cast<uInt>(out.size() - had);
    outcome = ::deflate(stream_.get(), last ? Z_FINISH : Z_NO_FLUSH);
    out.resize(out.size() - stream_->avail_out);
  } while (last ? outcome == Z_OK : stream_->avail_in > 0);
  return out;
}

GunzipSource::GunzipSource(rpc::ByteSource& packed)
    : packed_(packed), stream_(std::make_unique<z_stream>()), buffer_(new char[kPackedBytes]) {
  if (::inflateInit2(stream_.get(), kGzipWindow) != Z_OK)
    throw std::runtime_error("inflateInit2 failed: no memory, or a zlib of another version");
}

GunzipSource::~GunzipSource() {
  ::inflateEnd(stream_.get());
}

Result<std::size_t> GunzipSource::expand(std::span<char> into) {
  stream_->next_out = reinterpret_cast<Bytef*>(into.data());
  stream_->avail_out = static_cast<uInt>(into.size());
  // Also with no input left: the window may still hold output that did not fit the last buffer.
  while (stream_->avail_out > 0 && (stream_->avail_in > 0 || in_member_)) {
    if (!in_member_ && ::inflateReset(stream_.get()) != Z_OK)
      return make_error(Errc::internal, "inflateReset failed");
    in_member_ = any_member_ = true;
    const int outcome = ::inflate(stream_.get(), Z_NO_FLUSH);
    if (outcome == Z_STREAM_END) in_member_ = false;
    if (outcome == Z_OK || outcome == Z_STREAM_END) continue;
    if (outcome == Z_BUF_ERROR) break;
    return make_error(Errc::invalid, "error decompressing request body: it is not gzip, or damaged");
  }
  return into.size() - stream_->avail_out;
}

Task<Result<std::size_t>> GunzipSource::read_some(std::span<char> into) {
  if (into.size() > kExpandBytesMax) into = into.first(kExpandBytesMax);
  if (into.empty()) co_return std::size_t{0};
  for (;;) {
    auto given = expand(into);
    if (!given.ok() || *given > 0) co_return given;
    if (packed_ended_) {
      if (in_member_ || !any_member_)
        co_return make_error(Errc::invalid, "error decompressing request body: the gzip data is cut short");
      co_return std::size_t{0};
    }
    auto got = co_await packed_.read_some(std::span<char>(buffer_.get(), kPackedBytes));
    if (!got.ok()) co_return got;
    packed_ended_ = *got == 0;
    stream_->next_in = reinterpret_cast<Bytef*>(buffer_.get());
    stream_->avail_in = static_cast<uInt>(*got);
  }
}

}  // namespace atl::agent
