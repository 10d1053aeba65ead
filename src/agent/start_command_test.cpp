#include "agent/start_command.h"

#include "agent/testing/edge_harness.h"
#include "base/testing/needs.h"

namespace atl::agent {
namespace {

class StartCommandTest : public ::testing::Test {
 protected:
  void SetUp() override {
    NEEDS(root);
    char folder[] = "/tmp/atoll-start-test-XXXXXX";
    folder_ = ::mkdtemp(folder);
    reaper_.start();
  }
  void TearDown() override {
    if (!folder_.empty()) (void)remove_tree(folder_);
    loop_.io().poll();
  }

  Status run(std::string start, std::string ready, Millis at_most = Millis(15'000)) {
    context_.boot.start_cmd = std::move(start);
    context_.boot.ready_cmd = std::move(ready);
    // A home of its own: the login shell shall read no profile of this machine's user.
    context_.env = {{"HERE", folder_}, {"HOME", folder_}};
    StartTimes times;
    times.ready = at_most;
    times.retry = Millis(10);
    StartCommand command(context_, reaper_, times, std::nullopt);
    return loop_.await(command.run());
  }
  std::string content(const std::string& name) {
    auto text = read_file(folder_ + "/" + name, 4096);
    return text.ok() ? *text : "";
  }

  testing::Loop loop_;
  asio::thread_pool pool_{2};
  SystemClock clock_;
  AgentContext context_{loop_.io().get_executor(), pool_, clock_, BootConfig{}, {}};
  Reaper reaper_{loop_.io().get_executor()};
  std::string folder_;
};

TEST_F(StartCommandTest, NothingToDoIsReady) {
  EXPECT_TRUE(run("", "").ok());
}

TEST_F(StartCommandTest, IsReadyWhenTheReadyCommandSaysSoAndGoesOnRunning) {
  const std::string start = "echo begun > $HERE/begun; while [ ! -e $HERE/stop ]; do sleep 0.02; done; echo x > $HERE/over";
  const auto ready = run(start, "[ -s $HERE/begun ]");
  ASSERT_TRUE(ready.ok()) << ready.error().message;
  EXPECT_EQ(content("begun"), "begun\n");
  EXPECT_EQ(content("over"), "");
  ASSERT_TRUE(run("", "touch $HERE/stop; [ -e $HERE/over ]").ok());
}

TEST_F(StartCommandTest, AFailedStartIsToldWithItsOutput) {
  const auto failed = run("echo the port is taken >&2; exit 3", "sleep 60");
  ASSERT_FALSE(failed.ok());
  EXPECT_EQ(failed.error().code, Errc::internal);
  EXPECT_NE(failed.error().message.find("exit status 3"), std::string::npos) << failed.error().message;
  EXPECT_NE(failed.error().message.find("the port is taken"), std::string::npos) << failed.error().message;
}

TEST_F(StartCommandTest, AStartThatEndsWellIsReady) {
  EXPECT_TRUE(run("true", "sleep 60").ok());
}

TEST_F(StartCommandTest, ReadinessHasADeadline) {
  const auto never = run("while [ -e $HERE ]; do sleep 0.05; done", "echo nobody listens; false", Millis(3'000));
  ASSERT_FALSE(never.ok());
  EXPECT_EQ(never.error().code, Errc::deadline);
  EXPECT_NE(never.error().message.find("nobody listens"), std::string::npos) << never.error().message;
  const auto hangs = run("while [ -e $HERE ]; do sleep 0.05; done", "sleep 60", Millis(300));
  ASSERT_FALSE(hangs.ok());
  EXPECT_EQ(hangs.error().code, Errc::deadline);
}

}  // namespace
}  // namespace atl::agent
