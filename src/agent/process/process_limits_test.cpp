// Time and volume: deadlines, daemons, slow and vanished readers, orphans, a gigabyte.
#include <gtest/gtest.h>

#include <cstdlib>

#include "agent/testing/edge_harness.h"

namespace atl::agent {
namespace {

using testing::Edge;
using testing::Events;
using testing::SteadyClock;

std::chrono::milliseconds since(SteadyClock::time_point start) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(SteadyClock::now() - start);
}

// Pages of the agent's own memory (RssAnon), in bytes.
std::size_t memory_of(pid_t pid) {
  const auto status = read_file("/proc/" + std::to_string(pid) + "/status", 65536);
  const auto at = status.ok() ? status->find("RssAnon:") : std::string::npos;
  return at == std::string::npos ? 0 : std::strtoull(status->c_str() + at + 8, nullptr, 10) * 1024;
}

// Each thread's children are listed apart; the dead that nobody collected are among them.
std::string children_of(pid_t pid) {
  const std::string tasks = "/proc/" + std::to_string(pid) + "/task/";
  std::string all;
  const auto names = list_dir(tasks);
  if (!names.ok()) return "no such process";
  for (const std::string& task : *names) {
    const auto text = read_file(tasks + task + "/children", 65536);
    if (text.ok()) all += *text;
  }
  return all;
}

// Bytes of output in an event, without the cost of parsing 87 KB of JSON.
std::size_t output_bytes(const std::string& payload, Codec codec) {
  if (codec == Codec::proto) {
    ::process::StartResponse message;
    EXPECT_TRUE(parse_message(payload, codec, message).ok());
    return message.event().data().stdout().size();
  }
  constexpr std::string_view before = R"({"event":{"data":{"stdout":")", after = R"("}}})";
  if (!payload.starts_with(before)) return 0;
  const std::string_view text =
      std::string_view(payload).substr(before.size(), payload.size() - before.size() - after.size());
  return text.size() / 4 * 3 - (text.ends_with("==") ? 2 : text.ends_with("=") ? 1 : 0);
}

// Asked inside, so that the tests also hold where the agent has pids and files of its own (gVisor).
bool inside(Edge& edge, const std::string& condition) {
  Events run = edge.shell(condition);
  run.drain();
  return run.end && run.end->exit_code() == 0;
}
bool alive(Edge& edge, std::uint32_t pid) {
  const std::string status = "/proc/" + std::to_string(pid) + "/status";
  return inside(edge, "grep -q '^State:' " + status + " && ! grep -q '^State:.Z' " + status);
}
bool there(Edge& edge, const std::string& path) {
  return inside(edge, "test -e " + path);
}

// The machine may be busy: what must become true gets 10 s, looked at each time the loop turned.
template <class Condition>
bool becomes(Edge& edge, Condition condition) {
  const auto start = SteadyClock::now();
  while (!condition()) {
    if (since(start) > std::chrono::seconds(10)) return false;
    edge.loop().await([]() -> Task<bool> { co_return co_await sleep_for(Millis(20)); }());
  }
  return true;
}

TEST(ProcessTime, TheDeadlineKillsTheWholeSession) {
  Edge edge;
  edge.extra_headers = {{"connect-timeout-ms", "700"}};
  const auto start = SteadyClock::now();
  // A job in a group of its own, as an interactive shell makes them, that holds the output.
  Events run = edge.shell("set -m; sleep 300 & echo $!; wait");
  edge.extra_headers.clear();
  run.drain();
  EXPECT_EQ(run.error(), "deadline_exceeded");
  EXPECT_GE(since(start).count(), 650);
  EXPECT_LT(since(start).count(), 8'000);
  const std::uint32_t job = std::atoi(run.out.c_str());
  ASSERT_GT(job, 1u);
  EXPECT_TRUE(becomes(edge, [&] { return !alive(edge, job) && !alive(edge, run.pid); }));
}

TEST(ProcessTime, TheDeadlineAlsoHoldsWhenTheClientIsGone) {
  Edge edge;
  edge.extra_headers = {{"connect-timeout-ms", "500"}};
  Events run = edge.shell("sleep 300");
  run.cancel();
  EXPECT_TRUE(becomes(edge, [&] { return !alive(edge, run.pid); }));
}

TEST(ProcessTime, ADaemonThatHoldsTheOutputDoesNotHangTheCommand) {
  Edge edge;
  const auto start = SteadyClock::now();
  Events run =
      edge.shell("(sleep 4; echo late; echo late; touch " + edge.folder() + "/alive) & echo started $!");
  run.drain();
  EXPECT_LT(since(start).count(), 3'900);
  EXPECT_EQ(run.end->exit_code(), 0);
  const std::uint32_t daemon = std::atoi(run.out.c_str() + 8);
  EXPECT_TRUE(alive(edge, daemon));
  EXPECT_TRUE(becomes(edge, [&] { return there(edge, edge.folder() + "/alive"); }))
      << "its writes must not kill it";
}

TEST(ProcessTime, OutputOfADescendantThatEndsSoonIsStillDelivered) {
  Edge edge;
  Events run = edge.shell("(sleep 0.5; echo late) & echo soon");
  run.drain();
  EXPECT_EQ(run.out, "soon\nlate\n");
}

TEST(ProcessTime, KeepalivesComeInSilence) {
  Edge edge;
  edge.extra_headers = {{"keepalive-ping-interval", "1"}};
  Events run = edge.shell("sleep 2.5");
  run.drain();
  EXPECT_GE(run.keepalives, 1);
  EXPECT_LE(run.keepalives, 3);
  EXPECT_EQ(run.end->exit_code(), 0);
}

TEST(ProcessVolume, MuchOutputStreamsWithFlatMemory) {
  Edge edge;
  const char* wanted = std::getenv("ATOLL_TEST_MEGABYTES");
  const std::size_t megabytes = wanted ? std::strtoull(wanted, nullptr, 10) : 128;
  for (Codec codec : {Codec::json, Codec::proto}) {
    edge.codec = codec;
    const auto start = SteadyClock::now();
    Events run = edge.shell("head -c " + std::to_string(megabytes << 20) + " /dev/zero");
    std::size_t got = 0, most = 0, frames = 0;
    while (auto payload = run.next_payload()) {
      got += output_bytes(*payload, codec);
      if (++frames % 256 == 0) most = std::max(most, memory_of(edge.agent()));
    }
    EXPECT_EQ(got, megabytes << 20);
    EXPECT_EQ(run.error(), "");
    EXPECT_LT(most, 48u << 20) << "bytes of memory";
    const auto ms = since(start).count();
    std::cout << "[ measured ] " << (codec == Codec::json ? "json" : "proto") << ": " << megabytes
              << " MiB in " << ms << " ms, agent at most " << (most >> 10) << " KiB\n";
  }
}

TEST(ProcessVolume, AReaderThatStandsStillHoldsTheCommandUntilItGoes) {
  Edge edge;
  const std::string done = edge.folder() + "/done";
  Events run = edge.shell("head -c 67108864 /dev/zero; touch " + done);
  // Nothing is read: HTTP/2's window fills, then the reader's bound, then the pipe.
  EXPECT_TRUE(becomes(edge, [&] { return edge.request("GET", "/health").status == 204; }));
  edge.loop().await([]() -> Task<bool> { co_return co_await sleep_for(Millis(500)); }());
  EXPECT_FALSE(there(edge, done));
  EXPECT_LT(memory_of(edge.agent()), 48u << 20);
  run.cancel();
  EXPECT_TRUE(becomes(edge, [&] { return there(edge, done); })) << "a reader that is gone holds nobody up";
}

TEST(ProcessVolume, OutputWithoutAnyReaderIsDropped) {
  Edge edge;
  const std::string done = edge.folder() + "/done";
  Events run = edge.shell("sleep 0.2; head -c 67108864 /dev/zero; touch " + done);
  run.cancel();
  EXPECT_TRUE(becomes(edge, [&] { return there(edge, done); }));
}

TEST(ProcessVolume, AReaderThatStandsStillIsCutWhenOthersWait) {
  Edge edge;
  Events slow = edge.shell("sleep 0.3; head -c 33554432 /dev/zero");
  ::process::ConnectRequest request;
  request.mutable_process()->set_pid(slow.pid);
  Events good = edge.stream("Connect", request);
  good.drain();
  EXPECT_EQ(good.out.size(), 33'554'432u);
  ASSERT_TRUE(good.end.has_value());
  slow.drain();
  EXPECT_EQ(slow.error(), "resource_exhausted") << slow.end_frame();
  EXPECT_LT(slow.out.size(), 33'554'432u);
}

TEST(ProcessVolume, HundredsOfCommandsAtOnce) {
  Edge edge;
  std::vector<Events> runs;
  for (int i = 0; i < 200; ++i) runs.push_back(edge.shell("read line; echo $line", true));
  ::process::ListResponse list;
  edge.unary("List", ::process::ListRequest(), list);
  EXPECT_EQ(list.processes_size(), 200);
  for (std::size_t i = 0; i < runs.size(); ++i) {
    ::process::SendInputRequest input;
    input.mutable_process()->set_pid(runs[i].pid);
    input.mutable_input()->set_stdin("n" + std::to_string(i) + "\n");
    ::process::SendInputResponse reply;
    EXPECT_EQ(edge.unary("SendInput", input, reply).status, 200);
  }
  for (std::size_t i = 0; i < runs.size(); ++i) {
    runs[i].drain();
    EXPECT_EQ(runs[i].out, "n" + std::to_string(i) + "\n");
  }
}

TEST(Orphans, AreCollectedAndDoNotDisturbTheOthers) {
  Edge edge;
  Events bystander = edge.shell("read line; exit 7", true);
  Events bomb = edge.shell(
      "for i in 1 2 3 4 5 6 7 8 9 10; do (for j in 1 2 3 4 5 6 7 8 9 10; do (sleep 0.2 &) ; done) ; done");
  bomb.drain();
  EXPECT_EQ(bomb.end->exit_code(), 0);
  EXPECT_TRUE(
      becomes(edge, [&] { return children_of(edge.agent()) == std::to_string(bystander.pid) + " "; }));
  ::process::SendInputRequest input;
  input.mutable_process()->set_pid(bystander.pid);
  input.mutable_input()->set_stdin("\n");
  ::process::SendInputResponse reply;
  EXPECT_EQ(edge.unary("SendInput", input, reply).status, 200);
  bystander.drain();
  EXPECT_EQ(bystander.end->exit_code(), 7);
}

}  // namespace
}  // namespace atl::agent
