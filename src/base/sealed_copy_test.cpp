#include "base/sealed_copy.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/replace_file.h"
#include "base/subprocess.h"

namespace atl {
namespace {

TEST(SealedCopy, RunsAndCannotBeChanged) {
  const auto copy = sealed_copy("/bin/echo");
  if (!copy.ok()) GTEST_SKIP() << "needs programs in memory: " << copy.error().message;
  Command command;
  command.argv = {"/proc/self/fd/" + std::to_string(copy->get()), "from memory"};
  const auto said = run_ok(command);
  ASSERT_TRUE(said.ok()) << said.error().message;
  EXPECT_EQ(*said, "from memory\n");
  EXPECT_LT(::pwrite(copy->get(), "x", 1, 0), 0);
  EXPECT_NE(::ftruncate(copy->get(), 0), 0);
}

TEST(SealedCopy, WhatIsNoFileIsRefused) {
  EXPECT_FALSE(sealed_copy("/dev").ok());
  EXPECT_FALSE(sealed_copy("/dev/zero").ok());
  EXPECT_EQ(sealed_copy("/nowhere/at/all").error().code, Errc::not_found);
}

TEST(ReplaceFile, ReplacesContentAndMode) {
  char dir[] = "/tmp/atoll-replace-XXXXXX";
  ASSERT_NE(::mkdtemp(dir), nullptr);
  const std::string path = std::string(dir) + "/file";
  ASSERT_TRUE(replace_file(path, "a longer first content", 0644).ok());
  ASSERT_TRUE(replace_file(path, "second", 0600).ok());
  EXPECT_EQ(*read_file(path, 100), "second");
  struct stat info {};
  ASSERT_EQ(::stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0600u);
  EXPECT_EQ(list_dir(dir)->size(), 1u);
  EXPECT_FALSE(replace_file(std::string(dir) + "/missing/file", "x", 0600).ok());
  EXPECT_TRUE(remove_tree(dir).ok());
}

}  // namespace
}  // namespace atl
