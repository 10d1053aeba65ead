#include "base/subprocess.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

namespace atl {
namespace {

Command shell(std::string script) {
  Command command;
  command.argv = {"/bin/sh", "-c", std::move(script)};
  command.env = {"PATH=/usr/bin:/bin"};
  return command;
}

TEST(Subprocess, CapturesBothStreamsAndTheExitCode) {
  auto finished = run(shell("echo out; echo err >&2; exit 7"));
  ASSERT_TRUE(finished.ok()) << finished.error().message;
  EXPECT_EQ(finished->exit_code, 7);
  EXPECT_EQ(finished->out, "out\n");
  EXPECT_EQ(finished->err, "err\n");
}

TEST(Subprocess, ASignalIs128AndItsNumber) {
  auto finished = run(shell("kill -9 $$"));
  ASSERT_TRUE(finished.ok());
  EXPECT_EQ(finished->exit_code, 137);
}

TEST(Subprocess, FeedsStandardInputBeyondAPipesSize) {
  Command command = shell("wc -c");
  command.stdin_data = std::string(1 << 20, 'x');
  auto finished = run(command);
  ASSERT_TRUE(finished.ok());
  EXPECT_EQ(finished->out, "1048576\n");
}

TEST(Subprocess, KeepsAtMostTheBoundOfOutput) {
  Command command = shell("head -c 1000000 /dev/zero");
  command.output_bytes_max = 1000;
  auto finished = run(command);
  ASSERT_TRUE(finished.ok());
  EXPECT_EQ(finished->out.size(), 1000u);
  EXPECT_EQ(finished->exit_code, 0);
}

TEST(Subprocess, ATimeOutKillsTheWholeGroup) {
  Command command = shell("sleep 300 & echo $!; wait");
  int pipe_fds[2];
  ASSERT_EQ(::pipe2(pipe_fds, O_CLOEXEC), 0);
  command.stdout_fd = pipe_fds[1];
  command.timeout_ms = 300;
  auto finished = run(command);
  ::close(pipe_fds[1]);
  ASSERT_FALSE(finished.ok());
  EXPECT_EQ(finished.error().code, Errc::deadline);
  char text[32] = {};
  ASSERT_GT(::read(pipe_fds[0], text, sizeof text - 1), 0);
  // The pipe's end is reached only when no process of the group holds it any more.
  EXPECT_EQ(::read(pipe_fds[0], text, sizeof text), 0);
  ::close(pipe_fds[0]);
}

TEST(Subprocess, DoesNotWaitForADaemonThatHoldsTheOutput) {
  auto finished = run(shell("sleep 5 & echo started"));
  ASSERT_TRUE(finished.ok());
  EXPECT_EQ(finished->out, "started\n");
}

TEST(Subprocess, AMissingProgramIsNamed) {
  Command command;
  command.argv = {"/nonexistent/program"};
  auto finished = run(command);
  ASSERT_FALSE(finished.ok());
  EXPECT_EQ(finished.error().code, Errc::not_found);
  EXPECT_NE(finished.error().message.find("/nonexistent/program"), std::string::npos);
}

TEST(Subprocess, RunOkCarriesWhatTheProgramSaid) {
  auto result = run_ok(shell("echo broken disk >&2; exit 3"));
  ASSERT_FALSE(result.ok());
  EXPECT_NE(result.error().message.find("exit 3: broken disk"), std::string::npos);
}

TEST(Subprocess, LeaksNoDescriptorToTheChild) {
  const int secret = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  auto finished = run(shell("ls /proc/self/fd | wc -l"));
  ::close(secret);
  ASSERT_TRUE(finished.ok());
  EXPECT_EQ(finished->out, "4\n");  // the three streams, and the folder that ls reads
}

TEST(ProcessId, TellsAReusedNumberFromTheSameProcess) {
  const auto self = identify(::getpid());
  ASSERT_TRUE(self.ok());
  EXPECT_TRUE(is_alive(*self));
  ProcessId other = *self;
  other.start_time += 1;
  EXPECT_FALSE(is_alive(other));
  EXPECT_FALSE(open_process(other).ok());
  EXPECT_TRUE(open_process(*self).ok());
}

TEST(ProcessId, AZombieIsNotAlive) {
  const pid_t pid = ::fork();
  if (pid == 0) ::_exit(0);
  siginfo_t info{};
  ASSERT_EQ(::waitid(P_PID, pid, &info, WEXITED | WNOWAIT), 0);
  EXPECT_FALSE(identify(pid).ok());
  ::waitpid(pid, nullptr, 0);
}

}  // namespace
}  // namespace atl
