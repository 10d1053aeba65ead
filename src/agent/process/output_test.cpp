// The way of output from a pipe's bytes to the wire: events, base64, a reader's bound.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

#include "agent/process/environment.h"
#include "agent/process/subscriber.h"
#include "base/crypto.h"
#include "proto/process.pb.h"

namespace atl::agent {
namespace {

struct Frames {
  std::vector<::process::StartResponse> events;
  bool whole = true;
};

Frames decode(std::string_view wire, Codec codec) {
  Frames frames;
  while (wire.size() >= 5) {
    const auto* b = reinterpret_cast<const unsigned char*>(wire.data());
    const std::size_t size = b[1] << 24 | b[2] << 16 | b[3] << 8 | b[4];
    if (b[0] != 0 || wire.size() < 5 + size) break;
    ::process::StartResponse event;
    if (!parse_message(wire.substr(5, size), codec, event).ok()) break;
    frames.events.push_back(std::move(event));
    wire.remove_prefix(5 + size);
  }
  frames.whole = wire.empty();
  return frames;
}

TEST(Base64, AgreesWithLibsodiumForAllLengths) {
  std::string data;
  for (int i = 0; i < 1000; ++i) {
    std::string out = "x";
    append_base64(out, data);
    ASSERT_EQ(out, "x" + base64(data));
    data.push_back(static_cast<char>(i * 37));
  }
}

TEST(Events, HandwrittenOnesAreTheMessagesTheyStandFor) {
  for (Codec codec : {Codec::json, Codec::proto}) {
    for (std::size_t size : {1, 2, 3, 127, 128, 16'383, 16'384, 65'536, 100'000}) {
      std::string bytes = random_bytes(size), wire;
      append_output_event(wire, codec, OutputStream::out, bytes);
      append_output_event(wire, codec, OutputStream::err, bytes);
      append_output_event(wire, codec, OutputStream::pty, bytes);
      EXPECT_LE(wire.size(), 3 * encoded_size_max(size));
      const Frames frames = decode(wire, codec);
      ASSERT_TRUE(frames.whole);
      ASSERT_EQ(frames.events.size(), 3u);
      EXPECT_EQ(frames.events[0].event().data().stdout(), bytes);
      EXPECT_EQ(frames.events[1].event().data().stderr(), bytes);
      EXPECT_EQ(frames.events[2].event().data().pty(), bytes);
    }
  }
}

TEST(Events, EndAsTheClientsParseIt) {
  std::string wire;
  append_start_event(wire, Codec::json, 42);
  append_end_event(wire, Codec::json, exit_report(W_EXITCODE(3, 0)));
  append_end_event(wire, Codec::json, exit_report(W_EXITCODE(0, SIGKILL)));
  append_keepalive_event(wire, Codec::json);
  EXPECT_NE(wire.find(R"({"event":{"start":{"pid":42}}})"), std::string::npos);
  EXPECT_NE(
      wire.find(
          R"({"event":{"end":{"exitCode":3,"exited":true,"status":"exit status 3","error":"exit status 3"}}})"),
      std::string::npos);
  EXPECT_NE(
      wire.find(R"({"event":{"end":{"exitCode":-1,"status":"signal: killed","error":"signal: killed"}}})"),
      std::string::npos);
  EXPECT_NE(wire.find(R"({"event":{"keepalive":{}}})"), std::string::npos);
}

TEST(ExitReport, SpeaksOfCodesAndSignals) {
  EXPECT_EQ(exit_report(W_EXITCODE(0, 0)).status, "exit status 0");
  EXPECT_FALSE(exit_report(W_EXITCODE(0, 0)).error.has_value());
  EXPECT_EQ(exit_report(W_EXITCODE(0, SIGTERM)).status, "signal: terminated");
  EXPECT_EQ(exit_report(W_EXITCODE(0, SIGSEGV) | WCOREFLAG).status,
            "signal: segmentation fault (core dumped)");
  EXPECT_EQ(exit_report(W_EXITCODE(0, 40)).status, "signal: signal 40");
  EXPECT_EQ(exit_report(W_EXITCODE(255, 0)).exit_code, 255);
}

std::shared_ptr<const std::string> chunk(std::size_t size) {
  return std::make_shared<const std::string>(size, 'x');
}

TEST(Subscriber, MergesSmallPiecesAndKeepsTheOrderOfStreams) {
  asio::io_context loop;
  Subscriber reader(loop.get_executor());
  for (int i = 0; i < 100; ++i) reader.push(OutputStream::out, chunk(10), {});
  reader.push(OutputStream::err, chunk(5), {});
  reader.push(OutputStream::out, chunk(7), {});
  std::string wire;
  ASSERT_TRUE(reader.take_batch(wire, Codec::proto));
  const Frames frames = decode(wire, Codec::proto);
  ASSERT_EQ(frames.events.size(), 3u);
  EXPECT_EQ(frames.events[0].event().data().stdout().size(), 1000u);
  EXPECT_EQ(frames.events[1].event().data().stderr().size(), 5u);
  EXPECT_EQ(frames.events[2].event().data().stdout().size(), 7u);
  EXPECT_TRUE(reader.empty());
  wire.clear();
  EXPECT_FALSE(reader.take_batch(wire, Codec::proto));
}

TEST(Subscriber, IsBoundedAlsoForOutputByteByByte) {
  asio::io_context loop;
  Subscriber reader(loop.get_executor());
  const Wakeup::TimePoint at{std::chrono::seconds(5)};
  std::size_t count = 0;
  for (; reader.has_room(); ++count) reader.push(OutputStream::out, chunk(1), at);
  EXPECT_LT(count, 10'000u);
  EXPECT_EQ(reader.full_since(), at);
  std::size_t got = 0;
  std::string wire;
  while (reader.take_batch(wire, Codec::json)) {
    EXPECT_LE(wire.size(), Subscriber::kBatchBytesMax);
    for (const auto& event : decode(wire, Codec::json).events) got += event.event().data().stdout().size();
    wire.clear();
  }
  EXPECT_EQ(got, count);
  EXPECT_TRUE(reader.has_room());
}

TEST(Environment, TheLaterWins) {
  UserInfo user;
  user.name = "user";
  user.home = "/home/user";
  ::process::ProcessConfig config;
  (*config.mutable_envs())["B"] = "3";
  const Env env = command_env(user, {{"A", "1"}, {"B", "2"}, {"HOME", "/elsewhere"}}, config);
  EXPECT_EQ(env.at("USER"), "user");
  EXPECT_EQ(env.at("HOME"), "/elsewhere");
  EXPECT_EQ(env.at("A"), "1");
  EXPECT_EQ(env.at("B"), "3");
  EXPECT_EQ(env.at("PATH"), kDefaultPath);
}

TEST(Environment, PathsAreOfTheUsersHome) {
  UserInfo user;
  user.home = "/home/user";
  EXPECT_EQ(resolve_path("~", user), "/home/user");
  EXPECT_EQ(resolve_path("~/x", user), "/home/user/x");
  EXPECT_EQ(resolve_path("x/y", user), "/home/user/x/y");
  EXPECT_EQ(resolve_path("/etc", user), "/etc");
  user.home = "/";
  EXPECT_EQ(resolve_path("x", user), "/x");
}

TEST(Environment, AMissingFolderIsE2BsOwnText) {
  UserInfo user;
  user.home = "/nonexistent";
  ::process::ProcessConfig config;
  EXPECT_EQ(*working_folder(config, user, ""), "/");
  EXPECT_EQ(*working_folder(config, user, "/usr"), "/usr");
  config.set_cwd("/no/such/dir");
  const auto missing = working_folder(config, user, "");
  ASSERT_FALSE(missing.ok());
  EXPECT_EQ(missing.error().code, Errc::invalid);
  EXPECT_EQ(missing.error().message, "cwd '/no/such/dir' does not exist");
}

TEST(Environment, RefusesWhatTheKernelCouldNotTake) {
  ::process::ProcessConfig config;
  EXPECT_FALSE(check_config(config).ok());
  config.set_cmd("x");
  EXPECT_TRUE(check_config(config).ok());
  config.add_args(std::string("a\0b", 3));
  EXPECT_FALSE(check_config(config).ok());
  config.clear_args();
  (*config.mutable_envs())["A=B"] = "";
  EXPECT_FALSE(check_config(config).ok());
  config.clear_envs();
  (*config.mutable_envs())["A"] = std::string(600'000, 'x');
  EXPECT_FALSE(check_config(config).ok());
}

}  // namespace
}  // namespace atl::agent
