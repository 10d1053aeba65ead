#include "agent/users.h"

#include <gtest/gtest.h>

namespace atl::agent {
namespace {

constexpr std::string_view kPasswd =
    "root:x:0:0:root:/root:/bin/bash\n"
    "# a comment\n"
    "user:x:1000:1000:User:/home/user:/bin/bash\n"
    "broken:x:notanumber:5:x:/:/bin/sh\n"
    "short:x:7\n"
    "nohome:x:1001:1001:::\n"
    "user:x:2000:2000:second:/other:/bin/false\n"
    "all:x:4294967295:1:x:/:/bin/sh\n"
    "crlf:x:1002:1002::/home/crlf:/bin/sh\r\n"
    "last:x:1003:100::/home/last";
constexpr std::string_view kGroup =
    "root:x:0:\n"
    "users:x:100:\n"
    "user:x:1000:\n"
    "sudo:x:27:user,other\n"
    "docker:x:999:other,user\n"
    "bad:x:-1:user\n";

TEST(Users, FindsAUserWithItsGroups) {
  const Users users = Users::parse(kPasswd, kGroup);
  const auto user = users.find("user");
  ASSERT_TRUE(user.ok());
  EXPECT_EQ(user->uid, 1000u);
  EXPECT_EQ(user->gid, 1000u);
  EXPECT_EQ(user->home, "/home/user");
  EXPECT_EQ(user->shell, "/bin/bash");
  EXPECT_EQ(user->groups, (std::vector<gid_t>{1000, 27, 999}));
}

TEST(Users, AnUnknownUserIsE2BsOwnText) {
  const auto missing = Users::parse(kPasswd, kGroup).find("root123");
  ASSERT_FALSE(missing.ok());
  EXPECT_EQ(missing.error().code, Errc::unauthenticated);
  EXPECT_EQ(missing.error().message, "invalid username: 'root123'");
}

TEST(Users, SkipsLinesThatMakeNoSense) {
  const Users users = Users::parse(kPasswd, kGroup);
  EXPECT_FALSE(users.find("broken").ok());
  EXPECT_FALSE(users.find("short").ok());
  EXPECT_FALSE(users.find("all").ok()) << "2^32-1 means no change to the kernel";
  EXPECT_FALSE(users.find("# a comment").ok());
  EXPECT_EQ(users.find("nohome")->home, "/");
  EXPECT_EQ(users.find("crlf")->shell, "/bin/sh");
  EXPECT_EQ(users.find("last")->uid, 1003u);
}

TEST(Users, NamesNumbersAndFallsBackToThem) {
  const Users users = Users::parse(kPasswd, kGroup);
  EXPECT_EQ(users.name_of(1000), "user");
  EXPECT_EQ(users.name_of(2000), "user");
  EXPECT_EQ(users.name_of(4711), "4711");
  EXPECT_EQ(users.group_name_of(27), "sudo");
  EXPECT_EQ(users.group_name_of(4711), "4711");
}

TEST(Users, RootIsKnownWithoutAnyFile) {
  const Users users = Users::load("/nonexistent/passwd", "/nonexistent/group");
  const auto root = users.find("root");
  ASSERT_TRUE(root.ok());
  EXPECT_EQ(root->uid, 0u);
  EXPECT_EQ(root->home, "/root");
  EXPECT_EQ(users.group_name_of(0), "root");
  EXPECT_FALSE(users.find("user").ok());
}

TEST(Users, AHugeFileIsBounded) {
  std::string passwd;
  for (int i = 0; i < 100'000; ++i)
    passwd += "u" + std::to_string(i) + ":x:" + std::to_string(i) + ":1::/:\n";
  const Users users = Users::parse(passwd, "");
  EXPECT_TRUE(users.find("u65535").ok());
  EXPECT_FALSE(users.find("u65536").ok());
}

}  // namespace
}  // namespace atl::agent
