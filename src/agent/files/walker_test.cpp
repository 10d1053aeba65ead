#include "agent/files/walker.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <atomic>
#include <thread>

#include "agent/files/file_open.h"
#include "agent/files/guest_path.h"
#include "agent/files/testing/files_fixture.h"

namespace atl::agent {
namespace {

using testing::get;
using testing::put;
using testing::TempDir;

constexpr uid_t kGuest = 54321;
const WalkOptions kFollow;

WalkOptions not_following() {
  WalkOptions options;
  options.follow_last = false;
  return options;
}

TEST(GuestPath, MeansWhatE2bSays) {
  UserInfo user{"user", 1000, 1000, {1000}, "/home/user", "/bin/sh"};
  const std::pair<const char*, const char*> cases[] = {{"", "/work"},
                                                       {"~", "/home/user"},
                                                       {"~/a", "/home/user/a"},
                                                       {"a/b", "/home/user/a/b"},
                                                       {"a/../b", "/home/user/b"},
                                                       {"/x//y/", "/x/y"},
                                                       {"/x/../y", "/x/../y"},
                                                       {"/", "/"},
                                                       {".", "/home/user"},
                                                       {"../..", "/"},
                                                       {"../../../etc", "/etc"},
                                                       {"//", "/"}};
  for (const auto& [given, meant] : cases) {
    auto path = expand_path(given, user, "/work");
    ASSERT_TRUE(path.ok()) << given;
    EXPECT_EQ(*path, meant) << given;
  }
  EXPECT_EQ(*expand_path("", user, ""), "/home/user");
  EXPECT_EQ(expand_path("~root/x", user, "").error().code, Errc::invalid);
  EXPECT_EQ(expand_path(std::string_view("a\0b", 3), user, "").error().code, Errc::invalid);
}

TEST(GuestPath, NamesAndText) {
  EXPECT_EQ(base_name("/a/b"), "b");
  EXPECT_EQ(base_name("/a/b/"), "b");
  EXPECT_EQ(base_name("/"), "/");
  EXPECT_EQ(parent_name("/a"), "/");
  EXPECT_EQ(parent_name("/a/b"), "/a");
  EXPECT_EQ(utf8_text("a\xffz"), "a\xEF\xBF\xBDz");
  EXPECT_EQ(utf8_text("\xED\xA0\x80"), "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");  // a lone surrogate
  EXPECT_EQ(utf8_text("\xF0\x9F\x8C\xB4"), "\xF0\x9F\x8C\xB4");
}

TEST(Walker, FindsFilesThroughLinks) {
  TempDir dir;
  put(dir / "file", "x");
  ASSERT_EQ(::symlink("file", (dir / "link").c_str()), 0);
  ASSERT_EQ(::symlink(".", (dir / "here").c_str()), 0);
  auto spot = walk(dir / "here/here/link", kFollow);
  ASSERT_TRUE(spot.ok()) << spot.error().message;
  EXPECT_EQ(spot->real_path, dir / "file");
  EXPECT_TRUE(S_ISREG(spot->stat->st_mode));
  auto link = walk(dir / "here/link", not_following());
  ASSERT_TRUE(link.ok());
  EXPECT_TRUE(S_ISLNK(link->stat->st_mode));
  EXPECT_EQ(link->real_path, dir / "link");
  EXPECT_EQ(walk(dir / "here/..", kFollow)->real_path, "/tmp");
  EXPECT_EQ(walk("/", kFollow)->name, ".");
  EXPECT_EQ(walk("/../..", kFollow)->real_path, "/");
}

TEST(Walker, SaysWhatIsMissing) {
  TempDir dir;
  put(dir / "file", "x");
  ASSERT_EQ(::symlink("nowhere", (dir / "dangling").c_str()), 0);
  auto spot = walk(dir / "new", kFollow);
  ASSERT_TRUE(spot.ok());
  EXPECT_FALSE(spot->exists());
  EXPECT_EQ(walk(dir / "dangling", kFollow)->real_path, dir / "nowhere");
  EXPECT_EQ(walk(dir / "no/x", kFollow).error().code, Errc::not_found);
  EXPECT_EQ(walk(dir / "file/x", kFollow).error().os_error, ENOTDIR);
  EXPECT_TRUE(is_missing(walk(dir / "file/x", kFollow)));
}

TEST(Walker, BoundsLoopsAndLengths) {
  TempDir dir;
  ASSERT_EQ(::symlink("b", (dir / "a").c_str()), 0);
  ASSERT_EQ(::symlink("a", (dir / "b").c_str()), 0);
  EXPECT_EQ(walk(dir / "a", kFollow).error().os_error, ELOOP);
  EXPECT_EQ(walk("/" + std::string(5000, 'x'), kFollow).error().code, Errc::invalid);
  EXPECT_EQ(walk("relative", kFollow).error().code, Errc::invalid);
}

TEST(Walker, MakesParentsForTheirOwner) {
  NEEDS(root);
  TempDir dir;
  WalkOptions options;
  options.make_parents = Owner{kGuest, kGuest};
  auto spot = walk(dir / "a/b/c", options);
  ASSERT_TRUE(spot.ok()) << spot.error().message;
  EXPECT_FALSE(spot->exists());
  struct stat st = {};
  ASSERT_EQ(::stat((dir / "a/b").c_str(), &st), 0);
  EXPECT_EQ(st.st_uid, kGuest);
  EXPECT_EQ(st.st_mode & 0777, 0755u);
}

TEST(Walker, RefusesTheAgentsOwnProcess) {
  TempDir dir;
  ASSERT_EQ(::symlink("/proc/self/environ", (dir / "trap").c_str()), 0);
  std::vector<std::string> refused = {dir / "trap",
                                      "/proc/self/mem",
                                      "/proc/self/fd/0",
                                      "/proc/thread-self/maps",
                                      "/proc/self/net/../environ",
                                      "/proc/self/task/../environ",
                                      "/proc/self",
                                      "/proc/" + std::to_string(::getpid()) + "/environ"};
  std::atomic<long> tid{0};
  std::atomic<bool> done{false};
  std::thread live([&] {
    tid = ::syscall(SYS_gettid);
    tid.notify_one();
    done.wait(false);
  });
  tid.wait(0);
  refused.push_back("/proc/" + std::to_string(tid.load()) + "/environ");
  for (const auto& path : refused) {
    auto spot = walk(path, kFollow);
    ASSERT_FALSE(spot.ok()) << path;
    EXPECT_EQ(spot.error().code, Errc::denied) << path << ": " << spot.error().message;
  }
  done = true;
  done.notify_one();
  live.join();
}

TEST(Walker, ServesTheRestOfProcfs) {
  for (const char* path : {"/proc/cpuinfo", "/proc/mounts", "/proc/net/dev", "/proc/sys/kernel/hostname"}) {
    auto spot = walk(path, kFollow);
    EXPECT_TRUE(spot.ok()) << path << ": " << spot.error().message;
  }
  const pid_t child = ::fork();
  if (child == 0) {
    ::pause();
    ::_exit(0);
  }
  const std::string other = "/proc/" + std::to_string(child);
  EXPECT_TRUE(walk(other + "/status", kFollow).ok());
  for (const char* magic : {"/cwd/x", "/root/etc/passwd", "/fd/0", "/exe"}) {
    auto spot = walk(other + magic, kFollow);
    ASSERT_FALSE(spot.ok()) << magic;
    EXPECT_EQ(spot.error().code, Errc::denied) << spot.error().message;
  }
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
}

// A link of an unprivileged user leads where that user could go, and no further.
TEST(Walker, LinksCarryTheirOwnersRights) {
  NEEDS(root);
  TempDir dir;
  put(dir / "secret", "s", 0600);
  put(dir / "public", "p", 0644);
  ASSERT_EQ(::mkdir((dir / "locked").c_str(), 0700), 0);
  put(dir / "locked/file", "x");
  for (auto [name, target] :
       {std::pair{"to-secret", "secret"}, {"to-public", "public"}, {"to-locked", "locked"}}) {
    ASSERT_EQ(::symlink(target, (dir / name).c_str()), 0);
    ASSERT_EQ(::lchown((dir / name).c_str(), kGuest, kGuest), 0);
  }
  EXPECT_TRUE(open_for_read(dir / "secret", kFollow).ok());
  EXPECT_TRUE(open_for_read(dir / "to-public", kFollow).ok());
  EXPECT_EQ(open_for_read(dir / "to-secret", kFollow).error().code, Errc::denied);
  EXPECT_EQ(open_for_read(dir / "to-locked/file", kFollow).error().code, Errc::denied);
  EXPECT_EQ(open_for_upload(dir / "to-public", kFollow, Owner{}).error().code, Errc::denied);
  EXPECT_EQ(open_for_upload(dir / "to-locked/new", kFollow, Owner{}).error().code, Errc::denied);
  EXPECT_EQ(get(dir / "public"), "p");
  // Group rights count where the caller tells the owner's groups.
  ASSERT_EQ(::chown((dir / "secret").c_str(), 0, 777), 0);
  ASSERT_EQ(::chmod((dir / "secret").c_str(), 0640), 0);
  WalkOptions with_groups;
  with_groups.groups_of = [](uid_t) { return std::vector<gid_t>{777}; };
  EXPECT_TRUE(open_for_read(dir / "to-secret", with_groups).ok());
}

TEST(FileOpen, NeverWaitsForSpecialFiles) {
  TempDir dir;
  ASSERT_EQ(::mkfifo((dir / "pipe").c_str(), 0666), 0);
  for (const std::string& path : {dir / "pipe", dir.path(), std::string("/dev/null")}) {
    EXPECT_EQ(open_for_read(path, kFollow).error().code, Errc::invalid) << path;
    EXPECT_EQ(open_for_upload(path, kFollow, Owner{::getuid(), ::getgid()}).error().code, Errc::invalid)
        << path;
  }
  EXPECT_EQ(open_for_read(dir / "none", kFollow).error().code, Errc::not_found);
}

TEST(FileOpen, UploadKeepsTheInode) {
  TempDir dir;
  put(dir / "file", "old content", 0640);
  struct stat before = {}, after = {};
  ASSERT_EQ(::stat((dir / "file").c_str(), &before), 0);
  auto file = open_for_upload(dir / "file", kFollow, Owner{::getuid(), ::getgid()});
  ASSERT_TRUE(file.ok()) << file.error().message;
  ASSERT_EQ(::stat((dir / "file").c_str(), &after), 0);
  EXPECT_EQ(before.st_ino, after.st_ino);
  EXPECT_EQ(after.st_mode & 0777, 0640u);
  EXPECT_EQ(after.st_size, 0);
}

// One thread swaps a file for a link to a root-only file while uploads go on: no byte may reach it.
TEST(FileOpen, ASwappedLinkIsNeverWrittenThrough) {
  NEEDS(root);
  TempDir dir;
  put(dir / "victim", "precious", 0600);
  ASSERT_EQ(::mkdir((dir / "guest").c_str(), 0755), 0);
  ASSERT_EQ(::chown((dir / "guest").c_str(), kGuest, kGuest), 0);
  const std::string target = dir / "guest/target", link = dir / "guest/link", plain = dir / "guest/plain";
  put(target, "");
  std::atomic<bool> stop{false};
  std::thread swapper([&] {
    while (!stop) {
      ::unlink(link.c_str());
      if (::symlink("../victim", link.c_str()) == 0 && ::lchown(link.c_str(), kGuest, kGuest) == 0)
        ::rename(link.c_str(), target.c_str());
      const int fd = ::open(plain.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
      if (fd >= 0) ::close(fd);
      ::rename(plain.c_str(), target.c_str());
    }
  });
  int written = 0, refused = 0;
  for (int round = 0; round < 3000; ++round) {
    auto file = open_for_upload(target, kFollow, Owner{kGuest, kGuest});
    if (!file.ok()) {
      ++refused;
      continue;
    }
    ++written;
    ASSERT_EQ(::write(file->fd.get(), "evil", 4), 4);
  }
  stop = true;
  swapper.join();
  EXPECT_EQ(get(dir / "victim"), "precious");
  struct stat st = {};
  ASSERT_EQ(::stat((dir / "victim").c_str(), &st), 0);
  EXPECT_EQ(st.st_uid, 0u);
  EXPECT_GT(written + refused, 0);
}

}  // namespace
}  // namespace atl::agent
