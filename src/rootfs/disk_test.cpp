#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/crypto.h"
#include "base/fs.h"
#include "base/testing/needs.h"
#include "rootfs/disk_pool.h"
#include "rootfs/identity.h"
#include "rootfs/loop.h"
#include "rootfs/root.h"
#include "rootfs/user_namespace.h"

namespace atl::rootfs {
namespace {

constexpr DiskSize kSmall{32ll << 20, 2048};
constexpr std::uint32_t kBase = 1'800'000'000;

class Disks : public ::testing::Test {
 protected:
  void SetUp() override {
    NEEDS(root);
    NEEDS(mkfs_ext4);
    dir = "/tmp/atoll-rootfs-" + random_id(8);
    ASSERT_TRUE(make_dirs(dir, 0711).ok());
  }
  void TearDown() override {
    if (!dir.empty()) EXPECT_TRUE(remove_tree(dir).ok());
  }
  DiskPool::Options options(std::size_t ready = 2) {
    DiskPool::Options out;
    out.dir = dir + "/disks";
    out.ready_per_size = ready;
    out.sizes_max = 2;
    return out;
  }
  std::size_t images(const std::string& prefix) {
    std::size_t count = 0;
    if (const auto names = list_dir(dir + "/disks"); names.ok())
      for (const std::string& name : *names) count += name.rfind(prefix, 0) == 0;
    return count;
  }
  std::string dir;
};

TEST_F(Disks, AreSparseAndOfTheSizeAsked) {
  DiskPool pool(options());
  auto disk = pool.take(kSmall, "a1", kBase);
  ASSERT_TRUE(disk.ok()) << disk.error().message;
  struct stat info {};
  ASSERT_EQ(::stat(pool.image_of("a1").c_str(), &info), 0);
  EXPECT_EQ(info.st_size, kSmall.bytes);
  EXPECT_LT(info.st_blocks * 512, 4 << 20);
  const auto use = disk->use();
  ASSERT_TRUE(use.ok());
  EXPECT_LE(use->total_bytes, kSmall.bytes);
  EXPECT_GT(use->total_bytes, kSmall.bytes * 8 / 10);
  ASSERT_EQ(::fstatat(disk->mount_fd(), "upper", &info, 0), 0);
  EXPECT_EQ(info.st_uid, kBase);
  EXPECT_EQ(pool.ids(), std::vector<std::string>{"a1"});
  EXPECT_TRUE(pool.discard("a1", std::move(*disk), 2000).ok());
  EXPECT_EQ(find_loop(pool.image_of("a1")), std::nullopt);
  EXPECT_EQ(pool.ids(), std::vector<std::string>{});
  EXPECT_TRUE(pool.discard("a1", Disk(), 2000).ok());
}

TEST_F(Disks, AReadyOneIsTakenAndReplaced) {
  DiskPool pool(options());
  ASSERT_TRUE(pool.refill(kSmall).ok());
  EXPECT_EQ(pool.ready(kSmall), 2u);
  auto disk = pool.take(kSmall, "a1", kBase);
  ASSERT_TRUE(disk.ok());
  EXPECT_EQ(pool.ready(kSmall), 1u);
  ASSERT_TRUE(pool.refill(kSmall).ok());
  EXPECT_EQ(pool.ready(kSmall), 2u);
  EXPECT_TRUE(pool.discard("a1", std::move(*disk), 2000).ok());
}

TEST_F(Disks, ThePoolLeavesNothingReadyBehind) {
  {
    DiskPool pool(options());
    ASSERT_TRUE(pool.refill(kSmall).ok());
    EXPECT_EQ(images("ready-"), 2u);
  }
  EXPECT_EQ(images("ready-"), 0u);
  ASSERT_TRUE(write_file_atomic(dir + "/disks/ready-crashed.img", "", 0600).ok());
  DiskPool next(options());
  EXPECT_EQ(images("ready-"), 0u);
}

TEST_F(Disks, OfManySizesTheLeastUsedGoes) {
  DiskPool pool(options(1));
  for (const std::int64_t mebibytes : {32, 48, 64}) {
    const DiskSize size{mebibytes << 20, 2048};
    const std::string id = "s" + std::to_string(mebibytes);
    auto disk = pool.take(size, id, kBase);
    ASSERT_TRUE(disk.ok());
    ASSERT_TRUE(pool.refill(size).ok());
    EXPECT_TRUE(pool.discard(id, std::move(*disk), 2000).ok());
  }
  EXPECT_EQ(images("ready-"), 2u);
  EXPECT_EQ(pool.ready(kSmall), 0u);
}

TEST_F(Disks, SizesOutOfBoundsAreRefused) {
  DiskPool pool(options());
  for (const DiskSize size : {DiskSize{0, 2048}, DiskSize{1ll << 60, 2048}, DiskSize{32 << 20, 0},
                              DiskSize{32 << 20, 10'000'000}}) {
    const auto disk = pool.take(size, "a1", kBase);
    ASSERT_FALSE(disk.ok());
    EXPECT_EQ(disk.error().code, Errc::invalid) << disk.error().message;
  }
  EXPECT_EQ(images("id-"), 0u);
}

TEST_F(Disks, ReopenFindsADiskThatSomethingElseKeeps) {
  DiskPool pool(options());
  auto disk = pool.take(kSmall, "a1", kBase);
  ASSERT_TRUE(disk.ok());
  auto again = Disk::reopen(pool.image_of("a1"));
  ASSERT_TRUE(again.ok()) << again.error().message;
  EXPECT_EQ(again->device(), disk->device());
  EXPECT_EQ(Disk::reopen(dir + "/none.img").error().code, Errc::not_found);
  again = Disk();
  EXPECT_TRUE(pool.discard("a1", std::move(*disk), 2000).ok());
}

TEST_F(Disks, TheRootShowsLayersInOrderShiftedAndKeepsThemClean) {
  const std::string low = dir + "/layers/low", high = dir + "/layers/high";
  for (const auto& layer : {low, high}) ASSERT_TRUE(make_dirs(layer + "/etc", 0755).ok());
  ASSERT_TRUE(write_file_atomic(low + "/etc/which", "low", 0644).ok());
  ASSERT_TRUE(write_file_atomic(high + "/etc/which", "high", 0644).ok());
  ASSERT_TRUE(write_file_atomic(low + "/etc/machine-id", "same for all", 0644).ok());
  ASSERT_TRUE(write_file_atomic(low + "/own", "x", 0644).ok());
  ASSERT_EQ(::chown((low + "/own").c_str(), 1000, 1000), 0);
  ASSERT_EQ(::symlink("/etc/passwd", (low + "/etc/hosts").c_str()), 0);
  Template from;
  from.layers = {low, high};
  DiskPool pool(options());
  auto disk = pool.take(kSmall, "a1", kBase);
  ASSERT_TRUE(disk.ok());
  {
    const auto users = make_user_namespace(kBase, 65536);
    ASSERT_TRUE(users.ok()) << users.error().message;
    auto root = mount_root(from, *disk, users->get(), dir + "/scratch");
    ASSERT_TRUE(root.ok()) << root.error().message;
    EXPECT_EQ(*read_file(root->path() + "/etc/which", 100), "high");
    struct stat info {};
    ASSERT_EQ(::stat((root->path() + "/own").c_str(), &info), 0);
    EXPECT_EQ(info.st_uid, kBase + 1000);
    ASSERT_TRUE(write_identity(root->path(), "box", kBase).ok());
    ASSERT_TRUE(fill_tmp(root->path(), kBase).ok());
    EXPECT_NE(read_file(root->path() + "/etc/hosts", 1000)->find("127.0.1.1\tbox"), std::string::npos);
    EXPECT_EQ(read_file(root->path() + "/etc/machine-id", 100)->size(), 33u);
    ASSERT_EQ(::stat((root->path() + "/etc/hosts").c_str(), &info), 0);
    EXPECT_EQ(info.st_uid, kBase);
  }
  EXPECT_EQ(*read_file(low + "/etc/machine-id", 100), "same for all");
  const auto passwd = read_file("/etc/passwd", 1 << 20);  // the template's link was not followed
  ASSERT_TRUE(passwd.ok());
  EXPECT_EQ(passwd->find("127.0.1.1"), std::string::npos);
  remove_scratch(dir + "/scratch");
  EXPECT_FALSE(exists(dir + "/scratch"));
  EXPECT_TRUE(pool.discard("a1", std::move(*disk), 2000).ok());
  EXPECT_EQ(find_loop(pool.image_of("a1")), std::nullopt);
}

// The kernel counts what is made inside against its maker too: that must not be root.
TEST(UserNamespace, BelongsToTheFirstOfItsUsers) {
  NEEDS(root);
  const auto fd = make_user_namespace(kBase, 65536);
  ASSERT_TRUE(fd.ok()) << fd.error().message;
  uid_t owner = 0;
  ASSERT_EQ(::ioctl(fd->get(), NS_GET_OWNER_UID, &owner), 0);
  EXPECT_EQ(owner, kBase);
  EXPECT_EQ(::geteuid(), 0u);
}

TEST(UserNamespace, LivesByItsDescriptorAlone) {
  NEEDS(root);
  const auto fd = make_user_namespace(kBase, 65536);
  ASSERT_TRUE(fd.ok()) << fd.error().message;
  const pid_t pid = ::fork();
  if (pid == 0) ::_exit(::setns(fd->get(), CLONE_NEWUSER) == 0 && ::getuid() != 0 ? 0 : 1);
  int status = 0;
  ASSERT_EQ(::waitpid(pid, &status, 0), pid);
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace atl::rootfs
