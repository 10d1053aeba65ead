#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

#include "atolld/backoff.h"
#include "atolld/folders.h"
#include "atolld/options.h"
#include "atolld/privileges.h"
#include "base/fs.h"
#include "base/testing/needs.h"

namespace atl::atolld {
namespace {

using namespace std::chrono_literals;

struct TemporaryDir {
  std::string path;
  TemporaryDir() {
    char pattern[] = "/tmp/atolld-test-XXXXXX";
    path = ::mkdtemp(pattern);
  }
  ~TemporaryDir() { (void)remove_tree(path); }
};

std::optional<Invocation> parse(std::vector<std::string> words, int& status) {
  std::vector<char*> argv;
  words.insert(words.begin(), "atolld");
  for (std::string& w : words) argv.push_back(w.data());
  return parse_command_line(static_cast<int>(argv.size()), argv.data(), status);
}

TEST(Backoff, DoublesToFiveSecondsAndForgetsAfterAHealthyLife) {
  Backoff backoff;
  Backoff::Time now{};
  std::vector<std::int64_t> pauses;
  for (int i = 0; i < 8; ++i) {
    backoff.started(now);
    pauses.push_back(std::chrono::duration_cast<std::chrono::milliseconds>(backoff.died(now) - now).count());
  }
  EXPECT_EQ(pauses, (std::vector<std::int64_t>{100, 200, 400, 800, 1600, 3200, 5000, 5000}));
  backoff.started(now);
  now += 30s;
  EXPECT_EQ(backoff.died(now) - now, 100ms);
}

TEST(Options, ARoleGetsWhatTheSupervisorGot) {
  int status = -1;
  const auto call =
      parse({"--root", "/tmp/r", "--run", "/tmp/u", "--port", "0", "--instance", "t1", "run"}, status);
  ASSERT_TRUE(call);
  EXPECT_EQ(call->action, Action::run);
  std::vector<std::string> words{"role", "edge", "--parent", "7"};
  words.insert(words.end(), call->config_arguments.begin(), call->config_arguments.end());
  const auto role = parse(words, status);
  ASSERT_TRUE(role);
  EXPECT_EQ(role->role, "edge");
  EXPECT_EQ(role->parent, 7);
  EXPECT_EQ(role->config.paths.root, "/tmp/r");
  EXPECT_EQ(role->config.paths.run, "/tmp/u");
  EXPECT_EQ(role->config.listen_port, 0);
  EXPECT_EQ(role->config.instance, "t1");
  EXPECT_EQ(role->config_arguments, call->config_arguments);
}

TEST(Options, AFileGivesTheSameAsOptions) {
  TemporaryDir dir;
  std::ofstream(dir.path + "/atoll.toml") << "port = 8123\ninstance = \"filed\"\n";
  int status = -1;
  const auto call = parse({"--config", dir.path + "/atoll.toml", "run"}, status);
  ASSERT_TRUE(call);
  EXPECT_EQ(call->config.listen_port, 8123);
  EXPECT_EQ(call->config.instance, "filed");
}

TEST(Options, RefusesWhatWouldJoinTheRoles) {
  int status = 0;
  EXPECT_FALSE(parse({"--api-uid", "0", "run"}, status));
  EXPECT_EQ(status, 2);
  EXPECT_FALSE(parse({"--api-uid", "5", "--edge-uid", "5", "run"}, status));
  EXPECT_FALSE(parse({"--root", "relative", "run"}, status));
  EXPECT_FALSE(parse({"--instance", "a/b", "run"}, status));
  EXPECT_FALSE(parse({"--uid-first", "0", "run"}, status));
  EXPECT_FALSE(parse({"role", "nobody"}, status));
}

TEST(Folders, BelongToTheRoleThatUsesThem) {
  NEEDS(root);
  TemporaryDir dir;
  Config config;
  config.paths.root = dir.path + "/root";
  config.paths.run = dir.path + "/run";
  ASSERT_TRUE(prepare_folders(config).ok());
  ASSERT_TRUE(prepare_folders(config).ok());  // and again on what is there
  const auto expect = [](const std::string& path, uid_t owner, mode_t mode) {
    struct stat info{};
    ASSERT_EQ(::stat(path.c_str(), &info), 0) << path;
    EXPECT_EQ(info.st_uid, owner) << path;
    EXPECT_EQ(info.st_mode & 07777, mode) << path;
  };
  expect(config.paths.root, 0, 0755);
  expect(config.paths.store_dir(), config.api_uid, 0700);
  expect(config.paths.layers_dir(), 0, 0700);
  expect(config.paths.node_dir(), 0, 0700);
  expect(config.paths.run, 0, 0755);
  expect(config.paths.api_run_dir(), config.api_uid, 0750);
  // A link put in a folder's place is not followed.
  ASSERT_EQ(::rename(config.paths.edge_run_dir().c_str(), (dir.path + "/aside").c_str()), 0);
  ASSERT_EQ(::symlink("/etc", config.paths.edge_run_dir().c_str()), 0);
  EXPECT_FALSE(prepare_folders(config).ok());
}

TEST(Privileges, ARoleWithoutPowerCannotTakeItBack) {
  NEEDS(root);
  const pid_t pid = ::fork();
  if (pid == 0) {
    const auto status = become_role("test", Power::none, 64999, 0);
    if (!status.ok()) ::_exit(1);
    const auto text = read_file("/proc/thread-self/status", 64 * 1024);
    if (!text.ok()) ::_exit(2);
    for (const char* line :
         {"CapPrm:\t0000000000000000", "CapEff:\t0000000000000000", "CapBnd:\t0000000000000000",
          "CapInh:\t0000000000000000", "NoNewPrivs:\t1", "Uid:\t64999\t64999\t64999\t64999",
          "Gid:\t64999\t64999\t64999\t64999", "Groups:\t \n"})
      if (text->find(line) == std::string::npos) {
        dprintf(2, "missing: %s\n", line);
        ::_exit(3);
      }
    ::_exit(::setresuid(0, 0, 0) == 0 ? 4 : 0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(pid, &status, 0), pid);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace atl::atolld
