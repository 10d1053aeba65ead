#include "cli/copier.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "base/blocking.h"
#include "base/fs.h"
#include "cli/copy_links.h"
#include "cli/copy_place.h"
#include "cli/duration.h"
#include "cli/quiet_run.h"
#include "cli/text.h"

namespace atl::cli {
namespace {

constexpr std::size_t kChunkBytes = 256 * 1024;
constexpr std::size_t kSkippedToldMax = 1000;
constexpr std::size_t kPathsPerCommand = 200;
constexpr unsigned kAgentFileMode = 0644, kAgentFolderMode = 0755;  // what the agent gives by itself

Result<std::string> read_chunk(int fd) {
  std::string bytes(kChunkBytes, '\0');
  for (;;) {
    const ssize_t n = ::read(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return os_error("read", "");
    bytes.resize(n);
    return bytes;
  }
}

std::string leads_out(const std::string& target) {
  return "a link to " + target + ", which is not known to be in the folder that is copied";
}

// Tells the copier what a signal has to cancel, for as long as that lives.
class Current {
 public:
  Current(rpc::ClientExchange*& slot, rpc::ClientExchange* exchange) : slot_(slot) { slot_ = exchange; }
  ~Current() { slot_ = nullptr; }
  Current(const Current&) = delete;
  Current& operator=(const Current&) = delete;

 private:
  rpc::ClientExchange*& slot_;
};

}  // namespace

Copier::Copier(Context& context, std::shared_ptr<AgentClient> agent)
    : context_(context), agent_(std::move(agent)), progress_(context.console, context.clock) {
  context_.interrupts.on_interrupt([this](int) {
    context_.console.stop_reading();
    if (current_) current_->cancel();
  });
}

Copier::~Copier() { context_.interrupts.on_interrupt(nullptr); }

Status Copier::interrupted() const {
  if (context_.interrupts.received() == 0) return ok();
  return make_error(Errc::conflict, "the copy was interrupted");
}

Error Copier::transfer_error(const Error& error) const {
  const Status stopped = interrupted();
  return stopped.ok() ? error : stopped.error();
}

void Copier::skip(const std::string& what, const std::string& why) {
  ++skipped_count_;
  if (skipped_.size() < kSkippedToldMax) skipped_.push_back(what + ": " + why);
}

Task<Status> Copier::send_file(UniqueFd fd, const std::string& into) {
  CO_CHECK_OK(interrupted());
  CO_TRY(auto exchange, co_await agent_->upload(into, std::nullopt));
  const Current current(current_, exchange.get());
  for (;;) {
    auto work = [raw = fd.get()] { return read_chunk(raw); };
    CO_TRY(const std::string bytes, co_await run_blocking(pool_, std::move(work)));
    CO_CHECK_OK(interrupted());
    if (bytes.empty()) break;
    const Status sent = co_await exchange->write(bytes);
    if (!sent.ok()) break;  // finish_upload reads the reason
    co_await progress_.advance(bytes.size());
  }
  const Status finished = co_await agent_->finish_upload(*exchange, into);
  if (!finished.ok()) co_return transfer_error(finished.error());
  ++files_;
  co_return ok();
}

Task<Status> Copier::upload_file(const std::string& host_path, const std::string& into) {
  CO_TRY(UniqueFd fd, open_fd(host_path, O_RDONLY));
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) co_return os_error("stat", host_path);
  progress_.set_label(printable(host_path));
  if (S_ISREG(info.st_mode)) progress_.set_total(info.st_size);
  CO_CHECK_OK(co_await send_file(std::move(fd), into));
  if (const unsigned mode = info.st_mode & 07777; S_ISREG(info.st_mode) && mode != kAgentFileMode)
    modes_[mode].push_back(into);
  co_return ok();
}

Task<Status> Copier::upload_input(const std::string& into) {
  CO_TRY(auto exchange, co_await agent_->upload(into, std::nullopt));
  const Current current(current_, exchange.get());
  progress_.set_label("standard input");
  for (;;) {
    CO_TRY(const std::string bytes, co_await context_.console.read(kChunkBytes));
    CO_CHECK_OK(interrupted());
    if (bytes.empty()) break;
    const Status sent = co_await exchange->write(bytes);
    if (!sent.ok()) break;
    co_await progress_.advance(bytes.size());
  }
  const Status finished = co_await agent_->finish_upload(*exchange, into);
  if (!finished.ok()) co_return transfer_error(finished.error());
  ++files_;
  co_return ok();
}

Task<Status> Copier::send_link(const HostEntry& entry, const std::string& into) {
  const auto depth = static_cast<int>(std::count(entry.path.begin(), entry.path.end(), '/'));
  if (!stays_inside(entry.target, depth)) {
    skip(entry.path, leads_out(entry.target));
    co_return ok();
  }
  const Status made = co_await make_remote_link(*agent_, entry.target, into);
  if (!made.ok() && made.error().code == Errc::unavailable) co_return made.error();
  if (!made.ok()) skip(into, made.error().message);
  co_return ok();
}

Task<Status> Copier::upload_tree(const std::string& host_root, const std::string& into) {
  auto scan = [host_root] { return scan_tree(host_root); };
  CO_TRY(const std::vector<HostEntry> entries, co_await run_blocking(pool_, std::move(scan)));
  std::uint64_t total = 0;
  for (const HostEntry& entry : entries) total += entry.bytes;
  progress_.set_total(total);
  for (const HostEntry& entry : entries) {
    CO_CHECK_OK(interrupted());
    const std::string remote = entry.path.empty() ? into : join_path(into, entry.path);
    const std::string local = entry.path.empty() ? host_root : join_path(host_root, entry.path);
    if (entry.kind == HostEntry::Kind::directory) {
      CO_CHECK_OK(co_await agent_->make_dir(remote));
      if (entry.mode != kAgentFolderMode) modes_[entry.mode].push_back(remote);
    } else if (entry.kind == HostEntry::Kind::file) {
      progress_.set_label(printable(entry.path));
      CO_TRY(UniqueFd fd, open_fd(local, O_RDONLY | O_NOFOLLOW));
      CO_CHECK_OK(co_await send_file(std::move(fd), remote));
      if (entry.mode != kAgentFileMode) modes_[entry.mode].push_back(remote);
    } else if (entry.kind == HostEntry::Kind::link) {
      CO_CHECK_OK(co_await send_link(entry, remote));
    } else {
      skip(local, "it is neither a file, a folder nor a link");
    }
  }
  co_return ok();
}

Task<Status> Copier::download_file(const std::string& remote, int folder, const std::string& name, unsigned mode) {
  CO_CHECK_OK(interrupted());
  CO_TRY(auto download, co_await agent_->download(remote));
  const Current current(current_, download.body.get());
  CO_TRY(NewFile file, NewFile::create(folder, name, mode));
  std::string buffer(kChunkBytes, '\0');
  std::uint64_t received = 0;
  for (;;) {
    const auto got = co_await download.body->read_some(buffer);
    if (!got.ok()) co_return transfer_error(with_context(got.error(), "download " + remote));
    if (*got == 0) break;
    auto work = [&file, bytes = std::string_view(buffer).substr(0, *got)] { return file.write(bytes); };
    CO_CHECK_OK(co_await run_blocking(pool_, std::move(work)));
    received += *got;
    co_await progress_.advance(*got);
  }
  if (download.bytes && *download.bytes != received)
    co_return make_error(Errc::internal, fmt::format("download {}: {} of {} bytes came", remote, received, *download.bytes));
  ++files_;
  co_return file.commit();
}

Task<Status> Copier::download_output(const std::string& remote) {
  CO_TRY(auto download, co_await agent_->download(remote));
  const Current current(current_, download.body.get());
  std::string buffer(kChunkBytes, '\0');
  for (;;) {
    const auto got = co_await download.body->read_some(buffer);
    if (!got.ok()) co_return transfer_error(with_context(got.error(), "download " + remote));
    if (*got == 0) co_return ok();
    CO_CHECK_OK(co_await context_.console.write(Stream::out, std::string_view(buffer).substr(0, *got)));
  }
}

// Not followed: that could lead round in circles. And a guest's link may not be aimed at what lies
// elsewhere on this machine.
Task<Status> Copier::fetch_link(const std::string& name, const std::string& remote, int folder, int depth) {
  const auto target = co_await read_remote_link(*agent_, remote);
  if (!target.ok() && target.error().code == Errc::unavailable) co_return target.error();
  if (!target.ok()) {
    skip(remote, target.error().message);
  } else if (!stays_inside(*target, depth)) {
    skip(remote, leads_out(*target));
  } else if (const Status made = make_link(folder, name, *target); !made.ok()) {
    skip(remote, made.error().message);
  }
  co_return ok();
}

Task<Status> Copier::download_entry(const RemoteFile& file, const std::string& remote, int folder, int depth) {
  if (!is_safe_name(file.name)) {
    skip(remote, "its name may not exist on this machine");
  } else if (file.is_link) {
    CO_CHECK_OK(co_await fetch_link(file.name, remote, folder, depth));
  } else if (file.is_directory) {
    auto below = open_or_make_folder(folder, file.name);
    if (!below.ok()) co_return with_context(below.error(), remote);
    CO_CHECK_OK(co_await download_tree(remote, std::move(*below), depth + 1));
  } else if (file.is_regular) {
    progress_.set_label(printable(remote));
    CO_CHECK_OK(co_await download_file(remote, folder, file.name, file.mode));
  } else {
    skip(remote, "it is neither a file nor a folder");
  }
  co_return ok();
}

Task<Status> Copier::download_tree(const std::string& remote, UniqueFd folder, int depth) {
  if (depth > kTreeDepthMax)
    co_return make_error(Errc::too_large, fmt::format("{}: folders nested deeper than {}", remote, kTreeDepthMax));
  CO_CHECK_OK(interrupted());
  CO_TRY(const auto files, co_await agent_->list(remote));
  for (const RemoteFile& file : files) {
    if (++entries_ > kTreeEntriesMax)
      co_return make_error(Errc::too_large, fmt::format("more than {} files in one copy", kTreeEntriesMax));
    CO_CHECK_OK(co_await download_entry(file, join_path(remote, file.name), folder.get(), depth));
  }
  co_return ok();
}

Task<Status> Copier::send_modes() {
  for (const auto& [mode, paths] : modes_) {
    for (std::size_t at = 0; at < paths.size(); at += kPathsPerCommand) {
      CO_CHECK_OK(interrupted());
      std::vector<std::string> argv = {"chmod"};
      argv.push_back(fmt::format("{:04o}", mode));
      argv.emplace_back("--");
      const std::vector<std::string> some(paths.begin() + at,
                                          paths.begin() + std::min(at + kPathsPerCommand, paths.size()));
      const auto done = co_await run_quiet(*agent_, std::move(argv), some);
      if (!done.ok() && done.error().code == Errc::unavailable) co_return done.error();
      if (!done.ok()) skip(paths[at], "the mode was not set: " + done.error().message);
      else if (done->exit_code != 0) skip(paths[at], "the mode was not set: " + done->errors);
    }
  }
  modes_.clear();
  co_return ok();
}

Task<Status> Copier::finish() {
  CO_CHECK_OK(co_await send_modes());
  co_await progress_.clear();
  for (const std::string& line : skipped_) co_await context_.note("skipped " + line);
  if (skipped_count_ > skipped_.size())
    co_await context_.note(fmt::format("skipped {} more", skipped_count_ - skipped_.size()));
  if (context_.console.is_terminal(Stream::err))
    co_await context_.note(fmt::format("copied {} {}, {}", files_, files_ == 1 ? "file" : "files",
                                       format_bytes(progress_.bytes())));
  co_return ok();
}

}  // namespace atl::cli
