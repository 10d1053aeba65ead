// The process service from the outside: the real agent as a child, this test as the edge.
#include <gtest/gtest.h>

#include "agent/testing/edge_harness.h"
#include "base/testing/needs.h"

namespace atl::agent {
namespace {

using testing::Edge;
using testing::Events;

class ProcessService : public ::testing::TestWithParam<Codec> {
 protected:
  void SetUp() override { edge.codec = GetParam(); }
  ::process::ProcessSelector by_pid(std::uint32_t pid) {
    ::process::ProcessSelector selector;
    selector.set_pid(pid);
    return selector;
  }
  testing::UnaryReply send(std::uint32_t pid, const std::string& text, bool pty = false) {
    ::process::SendInputRequest request;
    *request.mutable_process() = by_pid(pid);
    if (pty)
      request.mutable_input()->set_pty(text);
    else
      request.mutable_input()->set_stdin(text);
    ::process::SendInputResponse reply;
    return edge.unary("SendInput", request, reply);
  }
  testing::UnaryReply signal(std::uint32_t pid, ::process::Signal which) {
    ::process::SendSignalRequest request;
    *request.mutable_process() = by_pid(pid);
    request.set_signal(which);
    ::process::SendSignalResponse reply;
    return edge.unary("SendSignal", request, reply);
  }
  testing::UnaryReply close_stdin(std::uint32_t pid) {
    ::process::CloseStdinRequest request;
    *request.mutable_process() = by_pid(pid);
    ::process::CloseStdinResponse reply;
    return edge.unary("CloseStdin", request, reply);
  }
  Events connect(std::uint32_t pid) {
    ::process::ConnectRequest request;
    *request.mutable_process() = by_pid(pid);
    Events events = edge.stream("Connect", request);
    if (auto first = events.next()) events.take(*first);
    return events;
  }
  std::vector<std::uint32_t> listed() {
    ::process::ListResponse reply;
    EXPECT_EQ(edge.unary("List", ::process::ListRequest(), reply).status, 200);
    std::vector<std::uint32_t> pids;
    for (const auto& info : reply.processes()) pids.push_back(info.pid());
    return pids;
  }
  static ::process::StartRequest program(const std::string& cmd, std::vector<std::string> args = {}) {
    ::process::StartRequest request;
    request.mutable_process()->set_cmd(cmd);
    for (auto& arg : args) request.mutable_process()->add_args(arg);
    request.set_stdin(false);
    return request;
  }
  Edge edge;
};

INSTANTIATE_TEST_SUITE_P(Codecs, ProcessService, ::testing::Values(Codec::json, Codec::proto),
                         [](const auto& param) { return param.param == Codec::json ? "Json" : "Proto"; });

TEST_P(ProcessService, RunsACommandAndTellsItsEnd) {
  Events run = edge.shell("echo out; echo err >&2; exit 3");
  EXPECT_GT(run.pid, 1u);
  run.drain();
  EXPECT_EQ(run.out, "out\n");
  EXPECT_EQ(run.err, "err\n");
  ASSERT_TRUE(run.end.has_value());
  EXPECT_EQ(run.end->exit_code(), 3);
  EXPECT_TRUE(run.end->exited());
  EXPECT_EQ(run.end->status(), "exit status 3");
  EXPECT_EQ(run.end->error(), "exit status 3");
  EXPECT_EQ(run.end_frame(), "{}");
}

TEST_P(ProcessService, StartIsTheRealPidAndTheWholeEnvironmentIsThere) {
  auto request = program("sh", {"-c", "echo $$; pwd; env | sort"});
  (*request.mutable_process()->mutable_envs())["MINE"] = "x y";
  request.mutable_process()->set_cwd("/usr");
  Events run = edge.started(request);
  run.drain();
  EXPECT_TRUE(run.out.starts_with(std::to_string(run.pid) + "\n/usr\n")) << run.out;
  for (const char* line : {"E2B_SANDBOX=true\n", "E2B_SANDBOX_ID=itest\n", "FROM_CREATE=yes\n", "MINE=x y\n",
                           "LOGNAME=root\n", "HOME=/root\n"})
    EXPECT_NE(run.out.find(line), std::string::npos) << line << run.out;
  EXPECT_EQ(run.out.find("0123456789abcdef"), std::string::npos) << "no secret reaches a command";
}

TEST_P(ProcessService, ABasicNameIsTheUser) {
  NEEDS(root);
  edge.extra_headers = {{"authorization", "Basic " + base64("nobody:")}};
  Events run = edge.shell("id -u; id -G; echo again > /dev/stdout");
  run.drain();
  EXPECT_EQ(run.out, "65534\n65534\nagain\n") << run.err;
  edge.extra_headers = {{"authorization", "Basic " + base64("root123:")}};
  Events refused = edge.shell("true");
  refused.drain();
  EXPECT_EQ(refused.error(), "unauthenticated");
  EXPECT_NE(refused.end_frame().find("invalid username: 'root123'"), std::string::npos);
}

TEST_P(ProcessService, FailuresToStartAreErrorsNotExits) {
  auto request = program("/bin/true");
  request.mutable_process()->set_cwd("/no/such/dir");
  Events cwd = edge.started(request);
  cwd.drain();
  EXPECT_EQ(cwd.error(), "invalid_argument");
  EXPECT_NE(cwd.end_frame().find("cwd '/no/such/dir' does not exist"), std::string::npos);
  const std::pair<const char*, const char*> cases[] = {{"no-such-program-here", "not_found"},
                                                       {"/no/such/program", "not_found"},
                                                       {"/etc/passwd", "permission_denied"},
                                                       {"/", "permission_denied"},
                                                       {"", "invalid_argument"}};
  for (const auto& [cmd, code] : cases) {
    Events failed = edge.started(program(cmd));
    failed.drain();
    EXPECT_EQ(failed.error(), code) << cmd << failed.end_frame();
    EXPECT_FALSE(failed.end.has_value());
  }
  EXPECT_TRUE(listed().empty());
}

TEST_P(ProcessService, InputIsWrittenAndClosed) {
  ::process::StartRequest request = program("cat");
  request.clear_stdin();  // absent: a pipe
  Events cat = edge.started(request);
  EXPECT_EQ(send(cat.pid, "hello ").status, 200);
  EXPECT_EQ(send(cat.pid, "world").status, 200);
  EXPECT_EQ(send(cat.pid, "x", true).status, 400) << "it has no terminal";
  ASSERT_TRUE(cat.read_until("hello world"));
  EXPECT_EQ(close_stdin(cat.pid).status, 200);
  EXPECT_NE(send(cat.pid, "late").status, 200);
  cat.drain();
  EXPECT_EQ(cat.end->exit_code(), 0);
  EXPECT_EQ(send(cat.pid, "late").code, "not_found");
  EXPECT_EQ(close_stdin(cat.pid).code, "not_found");
}

TEST_P(ProcessService, StdinFalseIsEmpty) {
  Events run = edge.shell("cat; echo done");
  run.drain();
  EXPECT_EQ(run.out, "done\n");
}

TEST_P(ProcessService, InputOverAPipesSizeIsAppliedInOrder) {
  Events count = edge.shell("sha256sum", true);
  std::string all;
  for (int i = 0; i < 8; ++i) {
    const std::string piece = random_bytes(300'000);
    all += piece;
    ASSERT_EQ(send(count.pid, piece).status, 200);
  }
  close_stdin(count.pid);
  count.drain();
  EXPECT_EQ(count.out.substr(0, 64), sha256_hex(all));
}

TEST_P(ProcessService, InputThatIsNotReadIsBounded) {
  Events sleeper = edge.shell("sleep 60", true);
  edge.extra_headers = {{"connect-timeout-ms", "300"}};
  const auto reply = send(sleeper.pid, std::string(200'000, 'x'));
  edge.extra_headers.clear();
  EXPECT_EQ(reply.status, 429);
  EXPECT_EQ(reply.code, "resource_exhausted");
  EXPECT_NE(reply.body.find("65536 of 200000"), std::string::npos) << reply.body;
  EXPECT_EQ(edge.request("GET", "/health").status, 204) << "the loop is free";
  EXPECT_EQ(signal(sleeper.pid, ::process::SIGNAL_SIGKILL).status, 200);
}

TEST_P(ProcessService, StreamInputAnswersOneMessageAndTheEnd) {
  Events cat = edge.shell("cat", true);
  auto input = edge.open_stream("StreamInput");
  ::process::StreamInputRequest message;
  *message.mutable_start()->mutable_process() = by_pid(cat.pid);
  edge.send_frame(*input, message);
  for (const char* text : {"one ", "two "}) {
    message.mutable_data()->mutable_input()->set_stdin(text);
    edge.send_frame(*input, message);
    ASSERT_TRUE(cat.read_until(text)) << "applied on arrival, with the body still open";
  }
  message.mutable_keepalive();
  edge.send_frame(*input, message);
  ASSERT_TRUE(edge.loop().await(input->finish_body()).ok());
  ASSERT_TRUE(edge.loop().await(input->head()).ok());
  rpc::EnvelopeReader reader(*input, 1000);
  auto first = edge.loop().await(reader.next());
  ASSERT_TRUE(first.ok() && first->has_value());
  EXPECT_EQ((*first)->flags, 0);
  EXPECT_EQ((*first)->payload, edge.codec == Codec::json ? "{}" : "");
  auto second = edge.loop().await(reader.next());
  ASSERT_TRUE(second.ok() && second->has_value());
  EXPECT_EQ((*second)->flags, rpc::kEnvelopeEnd);
  EXPECT_EQ((*second)->payload, "{}");
  close_stdin(cat.pid);
  cat.drain();
  EXPECT_EQ(cat.out, "one two ");
}

TEST_P(ProcessService, StreamInputOfAnUnknownPidFailsWithTheBodyOpen) {
  auto input = edge.open_stream("StreamInput");
  ::process::StreamInputRequest message;
  *message.mutable_start()->mutable_process() = by_pid(999'999);
  edge.send_frame(*input, message);
  ASSERT_TRUE(edge.loop().await(input->head()).ok());
  Events end(edge.loop(), std::move(input), edge.codec);
  end.drain();
  EXPECT_EQ(end.error(), "not_found");
}

TEST_P(ProcessService, SignalsHitTheProcessAndEndAsTheClientsExpect) {
  Events sleeper = edge.shell("exec sleep 60");
  EXPECT_EQ(signal(sleeper.pid, ::process::SIGNAL_UNSPECIFIED).status, 501);
  EXPECT_EQ(signal(sleeper.pid, ::process::SIGNAL_SIGKILL).status, 200);
  sleeper.drain();
  EXPECT_EQ(sleeper.end->exit_code(), -1);
  EXPECT_FALSE(sleeper.end->exited());
  EXPECT_EQ(sleeper.end->status(), "signal: killed");
  EXPECT_EQ(sleeper.end->error(), "signal: killed");
  EXPECT_EQ(signal(sleeper.pid, ::process::SIGNAL_SIGKILL).code, "not_found");
  Events trap = edge.shell("trap 'echo got; exit 0' TERM; echo ready; while :; do sleep 0.05; done");
  ASSERT_TRUE(trap.read_until("ready"));
  EXPECT_EQ(signal(trap.pid, ::process::SIGNAL_SIGTERM).status, 200);
  trap.drain();
  EXPECT_EQ(trap.out, "ready\ngot\n");
  EXPECT_EQ(trap.end->exit_code(), 0);
}

// The shell waits for its child: both must get it, as from a terminal. The child speaks, because a
// shell's child that has not come to its exec yet has the shell's own handler, and lives on.
TEST_P(ProcessService, AnInterruptReachesTheWholeGroup) {
  Events job = edge.shell("trap 'echo got; exit 5' INT; sh -c 'echo ready; exec sleep 60'");
  ASSERT_TRUE(job.read_until("ready"));
  EXPECT_EQ(signal(job.pid, static_cast<::process::Signal>(SIGINT)).status, 200);
  job.drain();
  EXPECT_EQ(job.out, "ready\ngot\n");
  EXPECT_EQ(job.end->exit_code(), 5);
  EXPECT_EQ(signal(job.pid, static_cast<::process::Signal>(SIGINT)).code, "not_found");
}

TEST_P(ProcessService, ListsWhatRunsWithItsTag) {
  auto request = program("sleep", {"60"});
  request.set_tag("my tag");
  Events sleeper = edge.started(request);
  ::process::ListResponse reply;
  ASSERT_EQ(edge.unary("List", ::process::ListRequest(), reply).status, 200);
  ASSERT_EQ(reply.processes_size(), 1);
  EXPECT_EQ(reply.processes(0).pid(), sleeper.pid);
  EXPECT_EQ(reply.processes(0).tag(), "my tag");
  EXPECT_EQ(reply.processes(0).config().args(0), "60");
  ::process::SendSignalRequest kill;
  kill.mutable_process()->set_tag("my tag");
  kill.set_signal(::process::SIGNAL_SIGKILL);
  ::process::SendSignalResponse killed;
  EXPECT_EQ(edge.unary("SendSignal", kill, killed).status, 200);
  sleeper.drain();
  EXPECT_TRUE(listed().empty());
}

TEST_P(ProcessService, ATerminalEchoesResizesAndEnds) {
  auto request = program("/bin/sh", {"-i"});
  request.clear_stdin();
  request.mutable_pty()->mutable_size()->set_cols(90);
  request.mutable_pty()->mutable_size()->set_rows(30);
  Events shell = edge.started(request);
  EXPECT_EQ(send(shell.pid, "tty && stty size && echo a'b'c\n", true).status, 200);
  ASSERT_TRUE(shell.read_until("abc")) << shell.pty;
  EXPECT_NE(shell.pty.find("30 90"), std::string::npos) << shell.pty;
  EXPECT_EQ(send(shell.pid, "x").status, 400) << "stdin of a terminal";
  EXPECT_EQ(close_stdin(shell.pid).status, 400);
  ::process::UpdateRequest update;
  *update.mutable_process() = by_pid(shell.pid);
  update.mutable_pty()->mutable_size()->set_cols(100);
  update.mutable_pty()->mutable_size()->set_rows(40);
  ::process::UpdateResponse updated;
  EXPECT_EQ(edge.unary("Update", update, updated).status, 200);
  send(shell.pid, "stty size\n", true);
  ASSERT_TRUE(shell.read_until("40 100")) << shell.pty;
  send(shell.pid, "\x04", true);
  shell.drain();
  ASSERT_TRUE(shell.end.has_value());
  EXPECT_TRUE(shell.end->exited());
}

TEST_P(ProcessService, ConnectSeesNewOutputAndTheEndAlsoAfterwards) {
  Events cat = edge.shell("cat", true);
  send(cat.pid, "before ");
  ASSERT_TRUE(cat.read_until("before"));
  Events second = connect(cat.pid);
  EXPECT_EQ(second.pid, cat.pid);
  send(cat.pid, "after");
  ASSERT_TRUE(second.read_until("after"));
  EXPECT_EQ(second.out, "after") << "no history";
  close_stdin(cat.pid);
  cat.drain();
  second.drain();
  EXPECT_EQ(cat.out, "before after");
  EXPECT_EQ(second.end->status(), "exit status 0");
  Events late = connect(cat.pid);
  late.drain();
  EXPECT_EQ(late.pid, cat.pid);
  EXPECT_EQ(late.out, "");
  ASSERT_TRUE(late.end.has_value());
  EXPECT_EQ(late.end->status(), "exit status 0");
  Events unknown = connect(999'999);
  unknown.drain();
  EXPECT_EQ(unknown.error(), "not_found");
}

TEST_P(ProcessService, ADisconnectedClientDoesNotEndTheCommand) {
  Events cat = edge.shell("cat", true);
  const auto pid = cat.pid;
  cat.cancel();
  Events again = connect(pid);
  ASSERT_EQ(send(pid, "still here").status, 200);
  ASSERT_TRUE(again.read_until("still here"));
  close_stdin(pid);
  again.drain();
  EXPECT_EQ(again.end->exit_code(), 0);
}

}  // namespace
}  // namespace atl::agent
