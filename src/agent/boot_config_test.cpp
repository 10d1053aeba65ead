#include "agent/boot_config.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <thread>

#include "agent/context.h"

namespace atl::agent {
namespace {

const std::string kToken(64, 'a');

std::string with(std::string_view more) {
  return R"({"bootToken":")" + kToken + "\"" + std::string(more) + "}";
}

TEST(BootConfig, ReadsAllFields) {
  const auto config = parse_boot_config(
      with(R"(,"accessToken":"secret","sandboxId":"i1","templateId":"base","channel":"/x/c.sock",)"
           R"("env":{"A":"1","B":"two words"},"defaultUser":"user","defaultWorkdir":"/code","vcpus":2,)"
           R"("startCmd":"exec serve","readyCmd":"probe","memoryBytes":1073741824,"later":true)"));
  ASSERT_TRUE(config.ok()) << config.error().message;
  EXPECT_EQ(config->boot_token, kToken);
  EXPECT_EQ(config->access_token, "secret");
  EXPECT_EQ(config->channel, "/x/c.sock");
  EXPECT_EQ(config->env.at("B"), "two words");
  EXPECT_EQ(config->default_user, "user");
  EXPECT_EQ(config->default_workdir, "/code");
  EXPECT_EQ(config->start_cmd, "exec serve");
  EXPECT_EQ(config->ready_cmd, "probe");
  EXPECT_EQ(config->vcpus, 2);
  EXPECT_EQ(config->memory_bytes, 1073741824);
  const auto env = sandbox_env(*config);
  EXPECT_EQ(env.at("E2B_SANDBOX_ID"), "i1");
  EXPECT_EQ(env.at("A"), "1");
}

TEST(BootConfig, HasDefaults) {
  const auto config = parse_boot_config(with(""));
  ASSERT_TRUE(config.ok());
  EXPECT_EQ(config->channel, "/run/atoll/channel.sock");
  EXPECT_EQ(config->access_token, "");
  EXPECT_EQ(config->vcpus, 0);
}

TEST(BootConfig, RefusesWhatItCannotUseAndTellsNoSecret) {
  const std::string bad[] = {"",
                             "[]",
                             "{}",
                             R"({"bootToken":"short"})",
                             R"({"bootToken":")" + std::string(64, 'X') + "\"}",
                             with(R"(,"env":{"A=B":"1"})"),
                             with(R"(,"env":{"":"1"})"),
                             with(R"(,"env":{"A":"\u0000"})"),
                             with(R"(,"env":[])"),
                             with(R"(,"startCmd":"a\u0000b")"),
                             with(",\"readyCmd\":\"" + std::string(70'000, 'r') + "\""),
                             with(R"(,"vcpus":-1)"),
                             with(R"(,"channel":")" + std::string(108, 'c') + "\""),
                             with("") + "x"};
  for (const std::string& text : bad) {
    const auto config = parse_boot_config(text);
    ASSERT_FALSE(config.ok()) << text;
    EXPECT_EQ(config.error().message.find(kToken), std::string::npos);
  }
}

TEST(BootConfig, ReadsADescriptorToItsEndWithinABound) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  std::thread writer([&] {
    const std::string text = with(",\"env\":{\"A\":\"" + std::string(100'000, 'x') + "\"}");
    for (std::size_t at = 0; at < text.size();) at += ::write(ends[1], text.data() + at, text.size() - at);
    ::close(ends[1]);
  });
  const auto config = read_boot_config(ends[0]);
  writer.join();
  ::close(ends[0]);
  ASSERT_TRUE(config.ok()) << config.error().message;
  EXPECT_EQ(config->env.at("A").size(), 100'000u);

  const int zeros = ::open("/dev/zero", O_RDONLY | O_CLOEXEC);
  const auto endless = read_boot_config(zeros);
  ::close(zeros);
  ASSERT_FALSE(endless.ok());
  EXPECT_EQ(endless.error().code, Errc::too_large);
}

}  // namespace
}  // namespace atl::agent
