#include "base/log_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"

namespace atl {
namespace {

struct Log {
  std::string folder = "/tmp/atoll-log-XXXXXX", path;
  UniqueFd fd;
  Log() {
    EXPECT_NE(::mkdtemp(folder.data()), nullptr);
    path = folder + "/log";
    auto opened = open_fd(path, O_WRONLY | O_CREAT | O_APPEND, 0640);
    EXPECT_TRUE(opened.ok());
    fd = std::move(*opened);
  }
  ~Log() { EXPECT_TRUE(remove_tree(folder).ok()); }
  void write(const std::string& text) const {
    EXPECT_EQ(::write(fd.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }
  std::string text(const std::string& suffix = "") const { return read_file(path + suffix, 1 << 20).value(); }
};

TEST(LogFile, IsCappedUnderAWriterThatKeepsItsDescriptor) {
  const Log log;
  log.write("one\ntwo\n");
  EXPECT_FALSE(*cap_log(log.path, 8));
  log.write("three\n");
  EXPECT_TRUE(*cap_log(log.path, 8));
  EXPECT_EQ(log.text(), "");
  EXPECT_EQ(log.text(".1"), "three\n");  // 8 bytes would begin in the middle of "two"
  log.write("four\n");
  EXPECT_EQ(log.text(), "four\n");
  log.write("and five\n");
  EXPECT_TRUE(*cap_log(log.path, 9));
  EXPECT_EQ(log.text(".1"), "and five\n");
  EXPECT_EQ(*list_dir(log.folder), (std::vector<std::string>{"log", "log.1"}));
}

TEST(LogFile, OneLineWithoutEndIsDropped) {
  const Log log;
  log.write(std::string(1000, 'x'));
  EXPECT_TRUE(*cap_log(log.path, 100));
  EXPECT_EQ(log.text(), "");
  EXPECT_EQ(log.text(".1"), "");
}

TEST(LogFile, OnlyRegularFilesAreTouched) {
  const Log log;
  EXPECT_FALSE(*cap_log(log.folder + "/missing", 0));
  ASSERT_EQ(::symlink(log.path.c_str(), (log.folder + "/link").c_str()), 0);
  log.write("kept\n");
  EXPECT_FALSE(cap_log(log.folder + "/link", 0).ok());
  EXPECT_EQ(log.text(), "kept\n");
  ASSERT_EQ(::mkfifo((log.folder + "/fifo").c_str(), 0600), 0);
  EXPECT_FALSE(*cap_log(log.folder + "/fifo", -1));
}

TEST(LogFile, IsPutAsideBeforeAStart) {
  const Log log;
  log.write("old\n");
  EXPECT_TRUE(put_log_aside(log.path, 4).ok());
  EXPECT_EQ(log.text(), "old\n");
  EXPECT_TRUE(put_log_aside(log.path, 3).ok());
  EXPECT_FALSE(exists(log.path));
  EXPECT_EQ(log.text(".1"), "old\n");
  EXPECT_TRUE(put_log_aside(log.path, 3).ok());
}

}  // namespace
}  // namespace atl
