#include "isolation/log_tail.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "base/fs.h"

namespace atl::isolation {
namespace {

TEST(LogTail, IsOneLineOfBoundedLength) {
  const std::string file = "/tmp/atoll-log-tail-" + std::to_string(::getpid());
  ASSERT_TRUE(write_file_atomic(file, "first\n\nsecond\n\n", 0600).ok());
  EXPECT_EQ(log_tail(file), "first; second");
  ASSERT_TRUE(write_file_atomic(file, std::string(5000, 'x') + "end", 0600).ok());
  EXPECT_EQ(log_tail(file).size(), 2000u);
  EXPECT_TRUE(log_tail(file).ends_with("xend"));
  ::unlink(file.c_str());
  EXPECT_EQ(log_tail(file), "");
}

}  // namespace
}  // namespace atl::isolation
