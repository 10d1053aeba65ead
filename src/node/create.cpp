#include <sys/stat.h>

#include "base/blocking.h"
#include "base/crypto.h"
#include "base/fs.h"
#include "node/node.h"
#include "node/template_defaults.h"

namespace atl::node {
namespace {

constexpr Millis kProbeWait{30'000};
constexpr Millis kEmulatedBootWait{25'000};
// The agent gives the template's start command 20 s before it answers, and says why it did not.
constexpr Millis kStartCommandWait{20'000};
constexpr std::int64_t kDiskWarnEveryMs = 60'000;
constexpr std::size_t kLogTailBytes = 1000;

std::int64_t or_default(std::int64_t asked, std::int64_t otherwise) {
  return asked > 0 ? asked : otherwise;
}

isolation::Limits merged(const isolation::Limits& asked, const isolation::Limits& base) {
  isolation::Limits out{or_default(asked.vcpus, base.vcpus),
                        or_default(asked.memory_bytes, base.memory_bytes), or_default(asked.pids, base.pids),
                        or_default(asked.disk_bytes, base.disk_bytes), or_default(asked.inodes, base.inodes)};
  // A small disk cannot have the default number of inodes: one in 4 KiB is plenty.
  if (asked.inodes <= 0)
    out.inodes = std::max<std::int64_t>(1024, std::min(out.inodes, out.disk_bytes / 4096));
  return out;
}

std::string boot_config_of(const Record& record, const CreateSpec& spec, const rootfs::Template& defaults) {
  json::object env;
  for (const auto& [key, value] : defaults.env) env[key] = value;
  for (const auto& [key, value] : spec.env) env[key] = value;
  return json::serialize(json::object{{"bootToken", record.boot_token},
                                      {"accessToken", record.access_token},
                                      {"sandboxId", record.id},
                                      {"templateId", record.template_id},
                                      {"channel", "/run/atoll/channel.sock"},
                                      {"env", std::move(env)},
                                      {"defaultUser", defaults.default_user},
                                      {"defaultWorkdir", defaults.default_workdir},
                                      {"startCmd", defaults.start_cmd},
                                      {"readyCmd", defaults.ready_cmd},
                                      {"vcpus", record.limits.vcpus},
                                      {"memoryBytes", record.limits.memory_bytes}});
}

Status check_env(const CreateSpec& spec) {
  std::size_t bytes = 0;
  for (const auto& [key, value] : spec.env) bytes += key.size() + value.size();
  if (spec.env.size() > limits::env_entries_max || bytes > limits::env_bytes_max)
    return make_error(Errc::too_large, "env: at most 1024 entries and 512 KiB");
  return ok();
}

}  // namespace

Status Node::check(const CreateSpec& spec) const {
  if (!valid_id(spec.id)) return make_error(Errc::invalid, "id: [a-z0-9]{1,64} expected");
  if (!valid_template_name(spec.template_name))
    return make_error(Errc::invalid, "template_name: [a-z0-9_.-]{1,128} expected");
  CHECK_OK(check_env(spec));
  for (const std::string* text :
       {&spec.access_token, &spec.traffic_token, &spec.mask_request_host, &spec.owner, &spec.template_id})
    if (text->size() > 1024)
      return make_error(Errc::too_large, "a token, host or owner is longer than 1024 bytes");
  const auto& l = spec.limits;
  if (l.vcpus < 0 || l.vcpus > 1024 || l.memory_bytes < 0 || l.pids < 0 || l.disk_bytes < 0)
    return make_error(Errc::invalid, "limits: none may be negative, and vcpus at most 1024");
  if (spec.end_ms < 0 || spec.timeout_ms < 0 || spec.timeout_ms > limits::sandbox_timeout_s_max * 1000)
    return make_error(Errc::invalid, "timeout_ms: 0 to 30 days");
  return ok();
}

// Whoever has not ended counts: one that is being tidied up still has its disk.
DiskNeed Node::disk_promises() const {
  DiskNeed out;
  for (const auto& [id, s] : sandboxes_) {
    if (s->record.state == State::ended) continue;
    out.promised_bytes += s->record.limits.disk_bytes;
    out.used_bytes += s->usage.disk_used_bytes();
  }
  return out;
}

Status Node::check_capacity(const isolation::Limits& wanted) {
  std::size_t live = 0;
  std::int64_t memory_promised = 0;
  for (const auto& [id, s] : sandboxes_)
    if (s->record.state != State::ended) ++live, memory_promised += s->record.limits.memory_bytes;
  if (live >= limits::sandboxes_per_node_max)
    return make_error(Errc::exhausted,
                      "this node runs " + std::to_string(live) + " sandboxes, its limit; end some first");
  CHECK_OK(check_memory(wanted.memory_bytes, memory_promised));
  const std::string folder = p_.config.paths.node_dir();
  const auto space = p_.disk_space_of(folder);
  if (!space.ok()) return ok();  // a file system that does not tell: its ENOSPC will
  DiskNeed need = disk_promises();
  need.asked_bytes = wanted.disk_bytes;
  const Status enough = check_disk(*space, need, folder);
  if (!enough.ok()) warn_of_disk(enough.error().message);
  return enough;
}

// At most once a minute.
void Node::warn_of_disk(const std::string& what) {
  const std::int64_t now = now_ms();
  if (disk_warned_ms_ > 0 && now - disk_warned_ms_ < kDiskWarnEveryMs) return;
  disk_warned_ms_ = now;
  log_warn("new sandboxes are refused", {{"why", what}});
}

isolation::Spec Node::spec_of(const Record& r) const {
  isolation::Spec spec;
  spec.id = r.id;
  spec.template_dir = p_.config.paths.template_dir(r.template_name);
  spec.limits = r.limits;
  spec.uid_base = r.uid_base;
  spec.hostname = r.id;
  spec.channel_dir = channel_dir(r.id);
  spec.agent_path = p_.config.agent_path;
  spec.log_path = log_path(r.id);
  return spec;
}

ChannelInfo Node::channel_of(const Record& r) const {
  return {r.id, r.boot_token, r.access_token, r.traffic_token, r.mask_request_host};
}

PeerCheck Node::peer_check(const Record& r) const {
  switch (r.tier) {
    case isolation::Tier::container: return PeerCheck::init_pid;
    case isolation::Tier::gvisor: return PeerCheck::none;
    case isolation::Tier::microvm: return PeerCheck::vmm;
  }
  return PeerCheck::init_pid;
}

Task<Status> Node::save(Record record) {
  const Paths paths = p_.config.paths;
  auto work = [paths, record = std::move(record)] { return save_record(paths, record); };
  co_return co_await run_blocking(p_.pool, std::move(work));
}

// One visit to the pool: a create pays for each.
Task<Status> Node::make_folder(Record record) {
  const Paths paths = p_.config.paths;
  const std::string log = log_path(record.id);
  auto work = [paths, log, record = std::move(record), failpoint = p_.failpoint]() -> Status {
    CHECK_OK(make_dirs(paths.sandbox_dir(record.id), 0755));
    TRY(UniqueFd made, open_fd(log, O_WRONLY | O_CREAT | O_APPEND, 0600));
    failpoint("create: before the journal");
    return save_record(paths, record);
  };
  co_return co_await run_blocking(p_.pool, std::move(work));
}

Task<Status> Node::remove_folder(std::string id) {
  const std::string dir = p_.config.paths.sandbox_dir(id);
  auto work = [dir] { return remove_tree(dir); };
  co_return co_await run_blocking(p_.pool, std::move(work));
}

void Node::change(Sandbox& sandbox, Change what) {
  // A change that the table does not have is a bug of this program, never of a caller.
  const auto to = next(sandbox.record.state, what);
  if (!to) throw std::logic_error("sandbox state machine");
  sandbox.record.state = *to;
}

Task<Result<Record>> Node::existing(SandboxPtr sandbox) {
  CO_TRY(auto turn, co_await sandbox->lock.acquire(limits::create_ms_max));
  if (sandbox->record.state == State::running) co_return sandbox->record;
  co_return make_error(Errc::conflict, "sandbox " + sandbox->record.id + " is " +
                                           std::string(name(sandbox->record.state)) + "; take a new id");
}

Task<Result<Record>> Node::create(CreateSpec spec) {
  CO_CHECK_OK(check(spec));
  if (const auto it = sandboxes_.find(spec.id); it != sandboxes_.end())
    co_return co_await existing(it->second);
  const std::string template_dir = p_.config.paths.template_dir(spec.template_name);
  auto load = [template_dir] { return rootfs::Template::open(template_dir); };
  CO_TRY(rootfs::Template defaults, co_await run_blocking(p_.pool, std::move(load)));
  const std::string tier = spec.tier.empty() ? defaults.tier : spec.tier;
  CO_TRY(isolation::Driver * driver, co_await p_.tiers.choose(tier, kProbeWait));
  // Others ran while this one waited.
  if (const auto it = sandboxes_.find(spec.id); it != sandboxes_.end())
    co_return co_await existing(it->second);

  auto sandbox = std::make_shared<Sandbox>();
  Record& r = sandbox->record;
  r.id = spec.id;
  r.tier = driver->tier();
  r.template_name = spec.template_name;
  r.template_id = spec.template_id.empty() ? defaults.template_id : spec.template_id;
  r.owner = spec.owner;
  r.limits = merged(spec.limits, default_limits(defaults));
  CO_CHECK_OK(check_capacity(r.limits));
  CO_TRY(r.uid_base, ranges_.take());
  sandbox->holds_range = true;
  r.created_ms = now_ms();
  r.boot_token = random_hex(32);
  r.access_token = spec.access_token;
  r.traffic_token = spec.traffic_token;
  r.mask_request_host = spec.mask_request_host;
  sandboxes_[spec.id] = sandbox;
  // Nobody else knows the sandbox yet, so the turn comes at once.
  CO_TRY(auto turn, co_await sandbox->lock.acquire(limits::create_ms_max));
  if (!defaults.start_cmd.empty() || !defaults.ready_cmd.empty()) sandbox->ready_wait += kStartCommandWait;
  std::string boot_config = boot_config_of(r, spec, defaults);
  const auto started = co_await start(sandbox, std::move(spec), std::move(boot_config), *driver);
  if (started.ok()) co_return sandbox->record;
  Error why = co_await explain(sandbox, started.error());
  co_await undo(sandbox, *driver);
  co_return why;
}

Task<Status> Node::start(SandboxPtr sandbox, CreateSpec asked, std::string boot_config,
                         isolation::Driver& driver) {
  Record& r = sandbox->record;
  p_.failpoint("create: before the folder");
  CO_CHECK_OK(co_await make_folder(r));
  p_.failpoint("create: after the journal");
  CO_CHECK_OK(p_.hub.open(channel_of(r), channel_dir(r.id), peer_check(r)));
  p_.failpoint("create: before the driver");
  isolation::Spec spec = spec_of(r);
  spec.boot_config = std::move(boot_config);
  CO_TRY(isolation::Started started, co_await driver.start(std::move(spec)));
  p_.failpoint("create: after the driver");
  r.init = started.init;
  r.receipt = std::move(started.receipt.fields);
  p_.hub.set_init(r.id, r.init.pid);
  CO_CHECK_OK(co_await wait_ready(sandbox));
  p_.failpoint("create: after ready");
  r.started_ms = now_ms();
  if (asked.end_ms > 0)
    r.end_ms = asked.end_ms;
  else if (asked.timeout_ms > 0)
    r.end_ms = r.started_ms + asked.timeout_ms;
  Record running = r;
  running.state = State::running;
  CO_CHECK_OK(co_await save(std::move(running)));
  p_.failpoint("create: after the second journal");
  change(*sandbox, Change::ready);
  watch_exit(sandbox);
  events_.publish(r);
  spawn(p_.executor, "first sample of " + r.id, sample(sandbox));
  co_return ok();
}

// Process 1 that ends while it starts is told at once, not when the time is up.
Task<Status> Node::wait_ready(SandboxPtr sandbox) {
  const Record& r = sandbox->record;
  std::shared_ptr<asio::posix::stream_descriptor> watch;
  if (auto process = open_process(r.init); process.ok()) {
    watch = std::make_shared<asio::posix::stream_descriptor>(p_.executor, process->release());
    spawn(p_.executor, "start of " + r.id, on_early_exit(r.id, watch));
  }
  // An emulated CPU boots in seconds, and on a busy host in many.
  if (const auto* slow = r.receipt.if_contains("slow"); slow && slow->is_bool() && slow->get_bool())
    sandbox->ready_wait += kEmulatedBootWait;
  const Status ready = co_await p_.hub.wait_ready(r.id, sandbox->ready_wait);
  if (watch) watch->close();
  co_return ready;
}

// Closing the channel ends the wait for it.
Task<void> Node::on_early_exit(std::string id, std::shared_ptr<asio::posix::stream_descriptor> process) {
  const auto [error] = co_await process->async_wait(asio::posix::stream_descriptor::wait_read,
                                                    asio::as_tuple(asio::use_awaitable));
  if (!error && process->is_open()) p_.hub.close(id);
}

// Adds what process 1 said last, since "not ready" alone helps nobody. Escaped: a guest's bytes.
Task<Error> Node::explain(SandboxPtr sandbox, Error error) {
  const std::string path = log_path(sandbox->record.id);
  auto work = [path] { return read_file(path, kBootLogBytesMax * 2); };
  auto text = co_await run_blocking(p_.pool, std::move(work));
  const bool not_ready = error.code == Errc::deadline || error.code == Errc::conflict;
  if (not_ready && text.ok() && !text->empty()) {
    if (text->size() > kLogTailBytes) text->erase(0, text->size() - kLogTailBytes);
    error.message += "; its boot log ends: " + json_escape(*text);
  }
  co_return error;
}

Task<void> Node::undo(SandboxPtr sandbox, isolation::Driver& driver) {
  Record& r = sandbox->record;
  p_.hub.close(r.id);
  const auto removed = co_await driver.destroy(r.id);
  if (!removed.ok()) {
    log_error("a failed create left something behind",
              {{"sandbox", r.id}, {"error", removed.error().message}});
    change(*sandbox, Change::end);
    r.end_reason = "failed: could not be started";
    sandbox->retry_ms = now_ms() + 5000;
    co_return;
  }
  const auto folder = co_await remove_folder(r.id);
  if (!folder.ok())
    log_error("folder of a failed create", {{"sandbox", r.id}, {"error", folder.error().message}});
  give_back_range(*sandbox);
  change(*sandbox, Change::end);
  sandboxes_.erase(r.id);
}

}  // namespace atl::node
