#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/blocking.h"
#include "base/crypto.h"
#include "base/fs.h"
#include "base/json.h"
#include "base/log.h"

namespace atl {
namespace {

class TemporaryFolder : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/atoll-base-XXXXXX";
    path_ = ::mkdtemp(name);
  }
  void TearDown() override { EXPECT_TRUE(remove_tree(path_).ok()); }
  std::string path_;
};

using Fs = TemporaryFolder;

TEST_F(Fs, AtomicWriteReplacesTheContentAndLeavesNoTemporary) {
  ASSERT_TRUE(write_file_atomic(path_ + "/a", "one", 0600).ok());
  ASSERT_TRUE(write_file_atomic(path_ + "/a", "two", 0640).ok());
  EXPECT_EQ(*read_file(path_ + "/a", 10), "two");
  struct stat info {};
  ::stat((path_ + "/a").c_str(), &info);
  EXPECT_EQ(info.st_mode & 07777, 0640u);
  EXPECT_EQ(list_dir(path_)->size(), 1u);
}

TEST_F(Fs, ReadRefusesMoreThanTheBound) {
  ASSERT_TRUE(write_file_atomic(path_ + "/a", "12345", 0600).ok());
  EXPECT_TRUE(read_file(path_ + "/a", 5).ok());
  EXPECT_EQ(read_file(path_ + "/a", 4).error().code, Errc::too_large);
}

TEST_F(Fs, ReadNeitherWaitsForAPipeNorTakesADevice) {
  ASSERT_EQ(::mkfifo((path_ + "/pipe").c_str(), 0600), 0);
  EXPECT_EQ(read_file(path_ + "/pipe", 10).error().code, Errc::invalid);
  EXPECT_EQ(read_file("/dev/zero", 10).error().code, Errc::invalid);
  EXPECT_EQ(read_file(path_, 10).error().code, Errc::invalid);
  EXPECT_TRUE(read_file("/proc/self/stat", 4096).ok());
}

TEST_F(Fs, RemoveTreeDoesNotFollowLinks) {
  ASSERT_TRUE(make_dirs(path_ + "/keep/x", 0755).ok());
  ASSERT_TRUE(make_dirs(path_ + "/gone/y", 0755).ok());
  ASSERT_EQ(::symlink((path_ + "/keep").c_str(), (path_ + "/gone/y/link").c_str()), 0);
  ASSERT_TRUE(remove_tree(path_ + "/gone").ok());
  EXPECT_FALSE(exists(path_ + "/gone"));
  EXPECT_TRUE(exists(path_ + "/keep/x"));
  EXPECT_TRUE(remove_tree(path_ + "/gone").ok());
}

TEST(Json, ErrorsNameTheField) {
  const auto value = parse_json(R"({"network":{"allowOut":["a",3]},"timeout":"x","n":1.5,"big":700})");
  ASSERT_TRUE(value.ok());
  const JsonReader reader(*value);
  auto network = reader.object("network");
  ASSERT_TRUE(network.ok());
  EXPECT_EQ((*network)->strings("allowOut", 10).error().message, "network.allowOut[1]: expected a string");
  EXPECT_EQ(reader.opt_int("timeout", 0, 9).error().message, "timeout: expected a whole number");
  EXPECT_FALSE(reader.opt_int("n", 0, 9).ok());
  EXPECT_EQ(reader.opt_int("big", 0, 600).error().message, "big: 700 is not within 0..600");
  EXPECT_EQ(reader.string("templateID").error().message, "templateID: missing, a string is required");
  EXPECT_FALSE(reader.opt_bool("absent")->has_value());
}

TEST(Json, RefusesDepthTrailingBytesAndBadUtf8) {
  EXPECT_FALSE(parse_json(std::string(40, '[') + std::string(40, ']')).ok());
  EXPECT_FALSE(parse_json("{} {}").ok());
  EXPECT_FALSE(parse_json("\"\xff\"").ok());
  EXPECT_FALSE(parse_json("").ok());
  EXPECT_TRUE(parse_json("{} ").ok());
}

TEST(Log, EscapesWhatCouldForgeALineOrATerminalSequence) {
  EXPECT_EQ(json_escape("a\"b\\c\nd\x1b[31m"), "a\\\"b\\\\c\\nd\\u001b[31m");
  EXPECT_EQ(json_escape("\xff\xc3\xa9\xed\xa0\x80"), "\xef\xbf\xbd\xc3\xa9\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
}

TEST(Crypto, KnownAnswers) {
  // FIPS 180-2 and RFC 4231 test case 2.
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(hmac_sha256_hex("Jefe", "what do ya want for nothing?"),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
  EXPECT_EQ(base64("ab"), "YWI=");
  EXPECT_EQ(base64_unpadded("ab"), "YWI");
  EXPECT_EQ(base64_decode("YWI=").value(), "ab");
  EXPECT_EQ(base64_decode("").value(), "");
  EXPECT_FALSE(base64_decode("YW!=").has_value());
  EXPECT_FALSE(base64_decode("YWI=YWI=").has_value());
  EXPECT_EQ(base64url_decode(base64url("\xff\xfe\xfd")).value(), "\xff\xfe\xfd");
  EXPECT_TRUE(equal_constant_time("abc", "abc"));
  EXPECT_FALSE(equal_constant_time("abc", "abcd"));
  EXPECT_EQ(random_id(20).size(), 20u);
}

TEST(Blocking, ResumesOnTheCallersExecutorWithTheValue) {
  asio::io_context loop;
  asio::thread_pool pool(1);
  std::thread::id inside, after;
  int value = 0;
  auto work = [](asio::thread_pool& where, std::thread::id& in, std::thread::id& back, int& out) -> Task<void> {
    auto job = [&in] {
      in = std::this_thread::get_id();
      return 42;
    };
    out = co_await run_blocking(where, std::move(job));
    back = std::this_thread::get_id();
  };
  spawn(loop.get_executor(), "test", work(pool, inside, after, value));
  loop.run();
  EXPECT_EQ(value, 42);
  EXPECT_TRUE(inside != std::this_thread::get_id());
  EXPECT_TRUE(after == std::this_thread::get_id());
}

}  // namespace
}  // namespace atl
