#include <fcntl.h>
#include <sys/stat.h>

#include "base/blocking.h"
#include "base/fs.h"
#include "node/node.h"

namespace atl::node {
namespace {

constexpr std::int64_t kLogReplyBytesMax = 1 << 20;

// Keeps the newer half. Process 1 appends by O_APPEND, so its next line goes to the new end; a line
// written between the read and the cut is lost.
Status cut_log(const std::string& path, std::int64_t bytes_max) {
  TRY(UniqueFd fd, open_fd(path, O_RDWR | O_APPEND | O_NOFOLLOW));
  struct stat info{};
  if (::fstat(fd.get(), &info) != 0) return os_error("stat", path);
  if (info.st_size <= bytes_max) return ok();
  std::string tail(static_cast<std::size_t>(bytes_max / 2), '\0');
  const ssize_t n =
      ::pread(fd.get(), tail.data(), tail.size(), info.st_size - static_cast<off_t>(tail.size()));
  if (n < 0) return os_error("read", path);
  tail.resize(static_cast<std::size_t>(n));
  if (const auto line = tail.find('\n'); line != tail.npos) tail.erase(0, line + 1);
  if (::ftruncate(fd.get(), 0) != 0) return os_error("truncate", path);
  if (::write(fd.get(), tail.data(), tail.size()) < 0) return os_error("write", path);
  return ok();
}

Result<std::string> read_from(const std::string& path, std::int64_t from) {
  TRY(UniqueFd fd, open_fd(path, O_RDONLY | O_NOFOLLOW));
  std::string out(static_cast<std::size_t>(kLogReplyBytesMax), '\0');
  const ssize_t n = ::pread(fd.get(), out.data(), out.size(), from);
  if (n < 0) return os_error("read", path);
  out.resize(static_cast<std::size_t>(n));
  return out;
}

}  // namespace

std::vector<Record> Node::list() const {
  std::vector<Record> out;
  for (const auto& [id, s] : sandboxes_) out.push_back(s->record);
  return out;
}

const UsageRing* Node::usage(const std::string& id) const {
  const auto it = sandboxes_.find(id);
  return it == sandboxes_.end() ? nullptr : &it->second->usage;
}

const Record* Node::find(const std::string& id) const {
  const auto it = sandboxes_.find(id);
  return it == sandboxes_.end() ? nullptr : &it->second->record;
}

Task<Result<std::string>> Node::logs(std::string id, std::int64_t from_byte) {
  if (!find(id)) co_return make_error(Errc::not_found, "sandbox " + id + " is not on this node");
  const std::string path = log_path(id);
  const std::int64_t from = std::max<std::int64_t>(0, from_byte);
  auto work = [path, from] { return read_from(path, from); };
  co_return co_await run_blocking(p_.pool, std::move(work));
}

void Node::watch_exit(SandboxPtr sandbox) {
  auto process = open_process(sandbox->record.init);
  if (!process.ok()) {
    spawn(p_.executor, "end of " + sandbox->record.id, end_in_background(sandbox->record.id, "exited"));
    return;
  }
  sandbox->exit_watch = std::make_shared<asio::posix::stream_descriptor>(p_.executor, process->release());
  spawn(p_.executor, "exit of " + sandbox->record.id, on_exit(sandbox, sandbox->exit_watch));
}

Task<void> Node::on_exit(SandboxPtr sandbox, std::shared_ptr<asio::posix::stream_descriptor> process) {
  const auto [error] = co_await process->async_wait(asio::posix::stream_descriptor::wait_read,
                                                    asio::as_tuple(asio::use_awaitable));
  if (error || sandbox->record.state != State::running || sandbox->end_asked) co_return;
  if (isolation::Driver* driver = p_.tiers.driver(sandbox->record.tier)) {
    const auto usage = co_await driver->usage(sandbox->record.id);
    if (usage.ok()) note(*sandbox, *usage);
  }
  const std::string reason(sandbox->hits.why_ended(now_ms()));
  log_warn("process 1 of a sandbox ended", {{"sandbox", sandbox->record.id}, {"reason", reason}});
  co_await end_in_background(sandbox->record.id, reason);
}

Task<void> Node::sample_all() {
  std::vector<SandboxPtr> running;
  for (auto& [id, s] : sandboxes_)
    if (s->record.state == State::running) running.push_back(s);
  for (const SandboxPtr& s : running)
    if (s->record.state == State::running) co_await sample(s);
  const std::string folder = p_.config.paths.node_dir();
  if (const auto space = p_.disk_space_of(folder); space.ok()) {
    const DiskNeed none;
    if (const Status enough = check_disk(*space, none, folder); !enough.ok()) warn_of_disk(enough.error().message);
  }
}

Task<void> Node::first_sample(std::string id) {
  const auto it = sandboxes_.find(id);
  if (it == sandboxes_.end()) co_return;
  const SandboxPtr sandbox = it->second;
  if (sandbox->record.state == State::running && sandbox->usage.samples().empty()) co_await sample(sandbox);
}

// Takes over which limits were hit; true when there is news.
bool Node::note(Sandbox& sandbox, const isolation::Usage& usage) {
  Record& record = sandbox.record;
  sandbox.hits.add(now_ms(), usage);
  const bool full = LimitHits::disk_full(usage);
  const bool news = usage.oom_kills != record.oom_kills || usage.pids_refused > record.pids_refused ||
                    (full && !record.disk_full_seen);
  record.oom_kills = usage.oom_kills;
  record.pids_refused = usage.pids_refused;
  record.disk_full_seen = record.disk_full_seen || full;
  return news;
}

Task<void> Node::sample(SandboxPtr sandbox) {
  isolation::Driver* driver = p_.tiers.driver(sandbox->record.tier);
  if (!driver) co_return;
  const std::string id = sandbox->record.id;
  const auto usage = co_await driver->usage(id);
  if (usage.ok() && sandbox->record.state == State::running) {
    sandbox->usage.add(now_ms(), *usage);
    if (note(*sandbox, *usage)) events_.publish(sandbox->record);
  }
  const std::string path = log_path(id);
  auto work = [path] { return cut_log(path, kBootLogBytesMax); };
  const auto cut = co_await run_blocking(p_.pool, std::move(work));
  if (!cut.ok() && cut.error().os_error != ENOENT)
    log_warn("boot log", {{"sandbox", id}, {"error", cut.error().message}});
}

}  // namespace atl::node
