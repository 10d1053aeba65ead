#include "agent/files/file_writer.h"

#include <unistd.h>

#include "agent/files/background.h"

namespace atl::agent {
namespace {

constexpr std::size_t kPieceBytes = 512 * 1024;

// Shared with the pool's work, which goes on when the request's coroutine is gone.
struct Pieces {
  OpenFile file;
  std::unique_ptr<char[]> piece[2] = {std::unique_ptr<char[]>(new char[kPieceBytes]),
                                      std::unique_ptr<char[]>(new char[kPieceBytes])};
};

Status write_bytes(int fd, const char* bytes, std::size_t count) {
  while (count > 0) {
    const ssize_t put = ::write(fd, bytes, count);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return os_error("write", "");
    bytes += put;
    count -= static_cast<std::size_t>(put);
  }
  return ok();
}

// What one piece got, and why no more came: nothing wrong and not full means the end.
struct Filled {
  std::size_t bytes = 0;
  Status state = ok();
};

Task<Filled> fill(rpc::ByteSource& source, char* piece) {
  Filled filled;
  while (filled.bytes < kPieceBytes) {
    const std::span<char> room(piece + filled.bytes, kPieceBytes - filled.bytes);
    auto got = co_await source.read_some(room);
    if (!got.ok()) filled.state = std::move(got).error();
    if (!got.ok() || *got == 0) break;
    filled.bytes += *got;
  }
  co_return filled;
}

}  // namespace

Task<Status> write_all(AgentContext& context, rpc::ByteSource& source, OpenFile file, Metadata metadata) {
  auto pieces = std::make_shared<Pieces>();
  pieces->file = std::move(file);
  std::optional<Background<Status>> under_way;
  for (int current = 0;; current ^= 1) {
    Filled filled = co_await fill(source, pieces->piece[current].get());
    if (under_way) {
      Status written = co_await under_way->wait();
      CO_CHECK_OK(std::move(written));
    }
    const bool failed = !filled.state.ok(), last = !failed && filled.bytes < kPieceBytes;
    auto write = [pieces, current, count = filled.bytes, last, metadata]() -> Status {
      CHECK_OK(write_bytes(pieces->file.fd.get(), pieces->piece[current].get(), count));
      if (!last) return ok();
      CHECK_OK(write_metadata(pieces->file.fd.get(), metadata));
      // Some file systems tell only here that the disk was full.
      return ::close(pieces->file.fd.release()) == 0 || errno == EINTR ? ok() : Status(os_error("close", ""));
    };
    under_way.emplace(context.pool, context.executor, std::move(write));
    if (!last && !failed) continue;
    Status written = co_await under_way->wait();
    if (!written.ok() || !failed) co_return written;
    co_return std::move(filled.state).error();
  }
}

}  // namespace atl::agent
