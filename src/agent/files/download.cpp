#include "agent/files/download.h"

#include <unistd.h>

#include "agent/codec.h"
#include "agent/files/background.h"
#include "agent/files/file_open.h"
#include "agent/files/guest_path.h"
#include "agent/files/gzip.h"
#include "agent/files/http_fields.h"
#include "agent/files/request.h"
#include "agent/files/signature.h"
#include "base/log.h"
#include "fmt/format.h"

namespace atl::agent {
namespace {

constexpr std::size_t kFirstBytes = 256 * 1024;  // a file that ends within it takes one trip to the pool
constexpr std::size_t kChunkBytes = 1u << 20;
constexpr std::uint64_t kGzipFileBytesMax = 8u << 20;

struct Fetched {
  OpenFile file;
  std::string content;  // the first bytes
  bool whole = false;   // they are all
};

// Up to `most` bytes from the file's offset. O_NONBLOCK is set, so that /proc/kmsg and the like say
// EAGAIN instead of waiting for what may never come.
Result<std::string> read_up_to(int fd, std::size_t most) {
  std::string bytes(most, '\0');
  std::size_t filled = 0;
  while (filled < most) {
    const ssize_t got = ::read(fd, bytes.data() + filled, most - filled);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN && filled > 0) break;
    if (got < 0) return os_error("read", "");
    if (got == 0) break;
    filled += static_cast<std::size_t>(got);
  }
  bytes.resize(filled);
  return bytes;
}

// Blocking: user, path, file, first bytes.
Result<Fetched> fetch(const std::string& user_name, const std::string& path,
                      const std::string& default_workdir) {
  TRY(Caller caller, load_caller(user_name));
  TRY(std::string full, expand_path(path, caller.user, default_workdir));
  TRY(OpenFile file, open_for_read(full, caller.walking()));
  // A little more than the file is said to hold, so that its end is seen without reading it all twice.
  const auto said = static_cast<std::uint64_t>(file.stat.st_size);
  const std::size_t most = said > 0 && said <= kFirstBytes ? static_cast<std::size_t>(said) + 1 : kFirstBytes;
  TRY(std::string content, read_up_to(file.fd.get(), most));
  const bool whole = content.size() < most;
  return Fetched{std::move(file), std::move(content), whole};
}

// One request's reply, once the file is open.
class Download {
 public:
  Download(AgentContext& context, rpc::Exchange& exchange, std::string name, Fetched fetched)
      : context_(context), exchange_(exchange), name_(std::move(name)), fetched_(std::move(fetched)) {}

  Task<void> run() {
    const Codings codings = accepted_codings(exchange_.request().headers);
    if (!codings.gzip && !codings.identity) {
      co_await reply_plain_error(exchange_, 406,
                                 "no acceptable encoding: files are sent as gzip or identity");
      co_return;
    }
    if (not_modified()) {
      rpc::ReplyHead head = head_of(304);
      (void)co_await exchange_.reply(std::move(head), "");
      co_return;
    }
    const RangeAnswer range = asked_range(codings);
    if (std::holds_alternative<Unsatisfiable>(range)) {
      rpc::ReplyHead head = head_of(416);
      head.headers.set("content-range", fmt::format("bytes */{}", *length()));
      std::string body = R"({"code":416,"message":"the range lies beyond the file's end"})";
      head.headers.set("content-type", "application/json");
      (void)co_await exchange_.reply(std::move(head), std::move(body));
    } else if (const auto* part = std::get_if<ByteRange>(&range)) {
      co_await send_range(*part);
    } else if (gzipped(codings)) {
      co_await send_gzip();
    } else {
      co_await send_all();
    }
  }

 private:
  // Nothing for a file that tells none: procfs says 0, or gave more than it said.
  std::optional<std::uint64_t> length() const {
    if (fetched_.whole) return fetched_.content.size();
    const auto said = static_cast<std::uint64_t>(fetched_.file.stat.st_size);
    if (said <= fetched_.content.size()) return std::nullopt;
    return said;
  }

  rpc::ReplyHead head_of(int status) const {
    rpc::ReplyHead head;
    head.status = status;
    head.headers.add("content-type", content_type_of(name_));
    head.headers.add("content-disposition", content_disposition(name_));
    head.headers.add("last-modified", http_date(fetched_.file.stat.st_mtim.tv_sec));
    head.headers.add("vary", "Accept-Encoding");
    if (length()) head.headers.add("accept-ranges", "bytes");
    return head;
  }

  bool not_modified() const {
    const auto since = parse_http_date(exchange_.request().headers.get_or("if-modified-since", ""));
    return since && length() && fetched_.file.stat.st_mtim.tv_sec <= *since;
  }

  RangeAnswer asked_range(const Codings& codings) const {
    const auto& headers = exchange_.request().headers;
    const auto field = headers.get("range");
    if (!field || !length() || !codings.identity) return WholeFile{};
    // No entity tags are given out, so a condition holds only as the exact date.
    if (const auto condition = headers.get("if-range"))
      if (*condition != http_date(fetched_.file.stat.st_mtim.tv_sec)) return WholeFile{};
    return range_of(*field, *length());
  }

  bool gzipped(const Codings& codings) const {
    if (!codings.identity) return true;
    if (!codings.gzip || length() == 0u) return false;
    return length().value_or(0) <= kGzipFileBytesMax;
  }

  Task<void> send_all() {
    rpc::ReplyHead head = head_of(200);
    if (fetched_.whole) {
      std::string body = std::move(fetched_.content);
      (void)co_await exchange_.reply(std::move(head), std::move(body));
      co_return;
    }
    head.content_length = length();
    const auto started = co_await exchange_.start(std::move(head));
    if (started.ok()) co_await stream(length(), true);
  }

  Task<void> send_range(ByteRange range) {
    rpc::ReplyHead head = head_of(206);
    head.headers.add("content-range",
                     fmt::format("bytes {}-{}/{}", range.first, range.first + range.length - 1, *length()));
    if (range.first + range.length <= fetched_.content.size()) {
      std::string body = fetched_.content.substr(range.first, range.length);
      (void)co_await exchange_.reply(std::move(head), std::move(body));
      co_return;
    }
    if (::lseek(fetched_.file.fd.get(), static_cast<off_t>(range.first), SEEK_SET) < 0) {
      Error error = os_error("lseek", "");
      co_await reply_files_error(exchange_, std::move(error));
      co_return;
    }
    head.content_length = range.length;
    const auto started = co_await exchange_.start(std::move(head));
    if (started.ok()) co_await stream(range.length, false);
  }

  // The rest of the file, at most `limit` bytes: the next piece is read while one is sent. A file
  // that shrank under a promised length leaves the reply unfinished, which the client sees as broken.
  Task<void> stream(std::optional<std::uint64_t> limit, bool with_first) {
    auto file = std::make_shared<UniqueFd>(std::move(fetched_.file.fd));
    std::uint64_t left = limit.value_or(UINT64_MAX);
    std::string current;
    if (with_first) {
      current = std::move(fetched_.content);
      current.resize(std::min<std::uint64_t>(current.size(), left));
      left -= current.size();
    }
    bool more = true;
    while (more) {
      const std::size_t want = std::min<std::uint64_t>(kChunkBytes, left);
      auto read_next = [file, want] { return read_up_to(file->get(), want); };
      Background<Result<std::string>> next(context_.pool, context_.executor, std::move(read_next));
      if (!current.empty()) {
        const auto written = co_await exchange_.write(current);
        if (!written.ok()) co_return;
      }
      auto got = co_await next.wait();
      if (!got.ok()) {
        log_warn("download broken off", {{"error", got.error().message}});
        co_return;
      }
      current = std::move(got).value();
      left -= current.size();
      more = !current.empty();
    }
    if (limit && left > 0) co_return;
    (void)co_await exchange_.finish();
  }

  Task<void> send_gzip() {
    rpc::ReplyHead head = head_of(200);
    head.headers.add("content-encoding", "gzip");
    head.headers.erase("accept-ranges");
    const auto started = co_await exchange_.start(std::move(head));
    if (!started.ok()) co_return;
    struct Shared {
      OpenFile file;
      GzipWriter gzip;
    };
    auto shared = std::make_shared<Shared>();
    shared->file = std::move(fetched_.file);
    std::string plain = std::move(fetched_.content);
    bool last = fetched_.whole;
    for (;;) {
      auto pack = [shared, plain = std::move(plain), last] { return shared->gzip.add(plain, last); };
      const std::string packed = co_await run_blocking(context_.pool, std::move(pack));
      if (!packed.empty()) {
        const auto written = co_await exchange_.write(packed);
        if (!written.ok()) co_return;
      }
      if (last) break;
      auto read_next = [shared] { return read_up_to(shared->file.fd.get(), kChunkBytes); };
      auto got = co_await run_blocking(context_.pool, std::move(read_next));
      if (!got.ok()) co_return;
      plain = std::move(got).value();
      last = plain.empty();
    }
    (void)co_await exchange_.finish();
  }

  AgentContext& context_;
  rpc::Exchange& exchange_;
  std::string name_;
  Fetched fetched_;
};

}  // namespace

Task<void> download(AgentContext& context, rpc::Exchange& exchange, const rpc::Target& target) {
  Status access = check_file_access(context, exchange.request().headers, target, FileOperation::read);
  if (!access.ok()) {
    co_await reply_files_error(exchange, std::move(access).error());
    co_return;
  }
  std::optional<std::string> named(target.param("username"));
  std::string path(target.param("path").value_or(""));
  auto work = [user = user_name_or_default(context, named), path, folder = context.boot.default_workdir] {
    return fetch(user, path, folder);
  };
  auto fetched = co_await run_blocking(context.pool, std::move(work));
  if (!fetched.ok()) {
    co_await reply_files_error(exchange, std::move(fetched).error());
    co_return;
  }
  std::string name = base_name(path);
  Download reply(context, exchange, std::move(name), std::move(fetched).value());
  co_await reply.run();
}

}  // namespace atl::agent
