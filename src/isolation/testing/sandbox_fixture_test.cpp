#include <poll.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/crypto.h"
#include "base/fs.h"
#include "base/testing/needs.h"
#include "isolation/fake/fake_driver.h"
#include "isolation/fake/process_tree.h"
#include "isolation/oci/host_namespace.h"
#include "isolation/oci/oci_driver.h"
#include "isolation/testing/sandbox_fixture.h"
#include "isolation/vm/qemu.h"
#include "isolation/vm/vm_driver.h"
#include "rootfs/loop.h"

namespace atl::isolation::testing {
namespace {

constexpr int kAnswerMs = 180'000;  // a machine in an emulated machine on a busy host takes its time
constexpr std::uint32_t kTestUidFirst = 1'900'000'000;

std::string beside_this_program(const std::string& name) {
  char path[4096] = {};
  const ssize_t n = ::readlink("/proc/self/exe", path, sizeof path - 1);
  const std::string self(path, n > 0 ? n : 0);
  return self.substr(0, self.rfind('/') + 1) + name;
}

std::string runtime_of(Kind kind) {
  if (kind == Kind::container) return "/usr/bin/crun";
  const char* path = std::getenv("ATOLL_RUNSC");
  return path ? path : "/usr/local/bin/runsc";
}

// Once for the whole program, before any thread of ours.
const Status& private_mounts() {
  static const Status entered = enter_private_mount_namespace();
  return entered;
}

}  // namespace

std::string name(Kind kind) {
  constexpr const char* kNames[] = {"fake", "container", "gvisor", "microvm", "clone"};
  return kNames[static_cast<int>(kind)];
}

Channel::Channel(const std::string& dir) {
  ::mkdir(dir.c_str(), 0755);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = dir + "/channel.sock";
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  listener_ = UniqueFd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_EQ(::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0) << path;
  EXPECT_EQ(::chmod(path.c_str(), 0666), 0);
  EXPECT_EQ(::listen(listener_.get(), 4), 0);
}

std::string Channel::accept_preface() {
  pollfd waiting{listener_.get(), POLLIN, 0};
  if (::poll(&waiting, 1, kAnswerMs) != 1) return "";
  stream_ = UniqueFd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  std::string preface;
  char c;
  while (preface.size() < 64) {
    pollfd readable{stream_.get(), POLLIN, 0};
    if (::poll(&readable, 1, kAnswerMs) != 1 || ::read(stream_.get(), &c, 1) != 1) return preface;
    preface += c;
  }
  return preface;
}

std::string Channel::ask(const std::string& line) {
  const std::string text = line + "\n";
  if (::send(stream_.get(), text.data(), text.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(text.size())) return "";
  std::string answer;
  for (char c;;) {
    pollfd readable{stream_.get(), POLLIN, 0};
    if (::poll(&readable, 1, kAnswerMs) != 1 || ::read(stream_.get(), &c, 1) != 1) return answer + "<broken>";
    if (c == '\0') return answer;
    answer += c;
  }
}

std::optional<std::string> World::missing(Kind kind) {
  using atl::testing::Need;
  if (kind == Kind::fake) return std::nullopt;
  if (kind == Kind::microvm || kind == Kind::clone) {
    for (const Need need : {Need::root, Need::mkfs_ext4, Need::microvm})
      if (auto gone = atl::testing::missing(need)) return gone;
    if (!private_mounts().ok()) return private_mounts().error().message;
    return std::nullopt;
  }
  for (const Need need : {Need::root, kind == Kind::container ? Need::crun : Need::runsc, Need::mkfs_ext4})
    if (auto gone = atl::testing::missing(need)) return gone;
  if (!private_mounts().ok()) return private_mounts().error().message;
  return std::nullopt;
}

World::World(Kind kind) : kind_(kind), instance_("test" + random_id(8)) {
  // 0711 all the way: the runtime walks to the root as the sandbox's root.
  dir_ = "/tmp/atoll-" + instance_;
  EXPECT_TRUE(make_dirs(dir_ + "/node", 0700).ok());
  ::chmod(dir_.c_str(), 0711);
  make_template();
  restart_driver();
}

World::World(Kind kind, std::string instance)
    : kind_(kind), instance_(std::move(instance)), dir_("/tmp/atoll-" + instance_), own_(false) {
  restart_driver();
}

void World::restart_driver() {
  driver_.reset();
  disks_.reset();
  disks_ = std::make_shared<rootfs::DiskPool>(rootfs::DiskPool::Options{.dir = dir_ + "/node/disks", .ready_per_size = 1});
  if (kind_ == Kind::fake) {
    FakeDriver::Options options;
    options.instance = instance_;
    options.agent_path = beside_this_program("isolation_test_agent");
    options.pool = &pool_;
    driver_ = std::make_unique<FakeDriver>(options);
    return;
  }
  if (kind_ == Kind::microvm || kind_ == Kind::clone) return open_vm_driver();
  OciDriver::Options options;
  options.tier = kind_ == Kind::gvisor ? Tier::gvisor : Tier::container;
  options.instance = instance_;
  options.runtime_path = runtime_of(kind_);
  options.state_dir = dir_ + "/node";
  options.scratch_dir = dir_ + "/scratch";
  options.agent_path = beside_this_program("isolation_test_agent");
  options.probe_uid_base = kTestUidFirst;
  options.disks = disks_;
  options.pool = &pool_;
  auto driver = OciDriver::open(options);
  ASSERT_TRUE(driver.ok()) << driver.error().message;
  driver_ = std::move(driver).value();
}

// Emulated, so that a machine without usable KVM runs the same tests.
void World::open_vm_driver() {
  VmDriver::Options options;
  options.instance = instance_;
  options.state_dir = dir_ + "/node";
  options.guest.kernel_dir = atl::testing::guest_kernel_dir();
  options.guest.dir = dir_ + "/guest";
  options.jail_path = beside_this_program("atoll-jail");
  options.agent_path = beside_this_program("isolation_test_agent");
  options.probe_uid_base = kTestUidFirst;
  vm::Qemu::Options qemu;
  qemu.accelerator = std::getenv("ATOLL_TEST_KVM") ? vm::Accelerator::kvm : vm::Accelerator::emulation;
  options.vmms = {std::make_shared<vm::Qemu>(qemu)};
  options.tried = true;
  options.hardware_trial_ms = options.save_boot_ms = kAnswerMs;
  options.clones = kind_ == Kind::clone;
  options.pool = &pool_;
  auto driver = VmDriver::open(options);
  ASSERT_TRUE(driver.ok()) << driver.error().message;
  driver_ = std::move(driver).value();
}

World::~World() {
  if (!own_) {
    pool_.join();
    return;
  }
  for (const std::string& id : started_) EXPECT_TRUE(destroy(id).ok()) << id;
  pool_.join();
  driver_.reset();
  disks_.reset();
  EXPECT_FALSE(exists("/sys/fs/cgroup/memory/atoll-" + instance_));
  EXPECT_FALSE(exists("/sys/fs/cgroup/atoll-" + instance_));
  if (kind_ == Kind::gvisor) ::umount2((dir_ + "/node/runtimes/runsc/null-netns").c_str(), 0);
  EXPECT_TRUE(remove_tree(dir_).ok());
}

void World::make_template() {
  const std::string home = dir_ + "/templates/base";
  ASSERT_TRUE(make_dirs(home, 0755).ok());
  for (const char* name : {"bin", "dev", "etc", "proc", "run", "sys", "tmp"})
    ASSERT_TRUE(make_dirs(dir_ + "/layers/lower/" + name, 0755).ok());
  ASSERT_TRUE(make_dirs(dir_ + "/layers/upper/home", 0755).ok());
  ASSERT_TRUE(write_file_atomic(dir_ + "/layers/lower/etc/passwd", "root:x:0:0:root:/root:/bin/sh\n", 0644).ok());
  ASSERT_TRUE(write_file_atomic(dir_ + "/layers/lower/etc/machine-id", "", 0444).ok());
  ASSERT_TRUE(write_file_atomic(dir_ + "/layers/upper/etc-mark", "upper layer\n", 0644).ok());
  ASSERT_TRUE(write_file_atomic(home + "/template.json",
                                R"({"name":"base","templateId":"base","buildId":"b1","layers":["lower","upper"]})", 0644)
                  .ok());
}

Spec World::spec(const std::string& id) {
  Spec spec;
  spec.id = id;
  spec.template_dir = dir_ + "/templates/base";
  const bool kernel = kind_ == Kind::gvisor || kind_ == Kind::microvm || kind_ == Kind::clone;  // has one of its own, which takes its part
  spec.limits = Limits{1, kernel ? 256ll << 20 : 64ll << 20, kernel ? 256 : 32, 64ll << 20, 4096};
  const auto next = kTestUidFirst + 65536 * static_cast<std::uint32_t>(1 + uid_bases_.size());
  spec.uid_base = uid_bases_.try_emplace(id, next).first->second;
  spec.hostname = "box-" + id;
  const std::string home = dir_ + "/node/sandboxes/" + id;
  EXPECT_TRUE(make_dirs(home, 0700).ok());
  spec.channel_dir = home + "/channel";
  spec.log_path = home + "/boot.log";
  spec.agent_path = beside_this_program("isolation_test_agent");
  std::string token = random_hex(32);
  spec.boot_config = json::serialize(json::object{{"bootToken", token}, {"accessToken", ""}, {"sandboxId", id},
                                                  {"templateId", "base"}, {"channel", "/run/atoll/channel.sock"}});
  if (!channels_.contains(id)) channels_[id] = std::make_unique<Channel>(spec.channel_dir);
  return spec;
}

Result<Started> World::start(Spec spec) {
  started_.push_back(spec.id);
  return wait(driver_->start(std::move(spec)));
}

Status World::destroy(const std::string& id) { return wait(driver_->destroy(id)); }

std::vector<std::string> World::traces_of(const std::string& id) {
  std::vector<std::string> found;
  for (const char* controller : {"memory", "cpu", "cpuacct", "pids", "freezer", ""}) {
    const std::string group = "/sys/fs/cgroup/" + std::string(controller) + "/atoll-" + instance_ + "/" + id;
    if (exists(group)) found.push_back(group);
  }
  const std::string image = dir_ + "/node/disks/id-" + id + ".img";
  if (exists(image)) found.push_back(image);
  if (const auto loop = rootfs::find_loop(image)) found.push_back(*loop);
  for (const std::string& path : {dir_ + "/scratch/" + id, dir_ + "/node/sandboxes/" + id + "/bundle",
                                  dir_ + "/node/sandboxes/" + id + "/vm"})
    if (exists(path)) found.push_back(path);
  if (const auto mounts = read_file("/proc/self/mountinfo", 64u << 20); mounts.ok() &&
      mounts->find(dir_ + "/scratch/" + id) != std::string::npos)
    found.push_back("a mount");
  for (const char* runtime : {"crun", "runsc"})
    if (const auto names = list_dir(dir_ + "/node/runtimes/" + runtime); names.ok())
      for (const std::string& name : *names)
        if (name.find(id) != std::string::npos) found.push_back(name);
  for (const Marked& process : find_marked("fake-sandbox:" + instance_ + ":" + id))
    found.push_back("process " + std::to_string(process.pid));
  return found;
}

}  // namespace atl::isolation::testing
