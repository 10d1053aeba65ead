#include "isolation/trial.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fs.h"
#include "isolation/unix_socket.h"

namespace atl::isolation {
namespace {

// A driver whose process 1 is this test: it sends `says`, and holds its line.
class Trials : public ::testing::Test {
 protected:
  Trials() {
    char pattern[] = "/tmp/atoll-trial-XXXXXX";
    dir = ::mkdtemp(pattern);
  }
  ~Trials() override { (void)remove_tree(dir); }

  Status run(const std::function<std::string(const Trial&)>& says, int within_ms = 5'000) {
    Trial trial = new_trial(dir, "probetest", Limits{}, 0, "/bin/true");
    const std::string text = says(trial);
    const TrialSteps steps{[&](const Spec& spec) -> Status {
                             TRY(line, connect_unix(spec.channel_dir + "/channel.sock"));
                             if (::write(line.get(), text.data(), text.size()) < 0) return os_error("write", "channel");
                             return ok();
                           },
                           [&](const std::string& id) {
                             destroyed.push_back(id);
                             return ok();
                           }};
    last = trial.spec.id;
    return run_trial(std::move(trial), "probetest", steps, within_ms);
  }

  std::string dir, last;
  UniqueFd line;
  std::vector<std::string> destroyed;
};

TEST_F(Trials, ItsOwnTokenIsWhatItWaitsFor) {
  const Status good = run([](const Trial& trial) { return trial.token; });
  EXPECT_TRUE(good.ok()) << good.error().message;
  EXPECT_EQ(destroyed, std::vector<std::string>{last});
  EXPECT_TRUE(list_dir(dir)->empty());
  const Status other = run([](const Trial&) { return std::string(64, 'a'); });
  ASSERT_FALSE(other.ok());
  EXPECT_NE(other.error().message.find("not its token"), std::string::npos) << other.error().message;
  EXPECT_TRUE(list_dir(dir)->empty());
}

TEST_F(Trials, SilenceEndsIt) {
  const Status silent = run([](const Trial& trial) { return trial.token.substr(0, 10); }, 50);
  ASSERT_FALSE(silent.ok());
  EXPECT_EQ(silent.error().code, Errc::deadline);
  EXPECT_EQ(destroyed, std::vector<std::string>{last});
  EXPECT_TRUE(list_dir(dir)->empty());
}

TEST_F(Trials, WhatACutOffOneLeftGoesFirst) {
  ASSERT_TRUE(make_dirs(dir + "/probetestold/channel", 0700).ok());
  ASSERT_TRUE(make_dirs(dir + "/sandboxes", 0700).ok());
  EXPECT_TRUE(run([](const Trial& trial) { return trial.token; }).ok());
  EXPECT_EQ(destroyed, (std::vector<std::string>{"probetestold", last}));
  EXPECT_EQ(*list_dir(dir), std::vector<std::string>{"sandboxes"});
}

}  // namespace
}  // namespace atl::isolation
