// Commands against a fake daemon: streaming, signals, exit codes, and that nothing is left behind.
#include <sys/stat.h>
#include <unistd.h>


#include <boost/asio/as_tuple.hpp>
#include <csignal>

#include "base/fs.h"
#include "cli/testing/fake_daemon.h"

namespace atl::cli {
namespace {

using testing::FakeConsole;
using testing::FakeDaemon;
using Words = std::vector<std::string>;

Task<void> until_changed(FakeDaemon& daemon) {
  daemon.changed.expires_at(asio::steady_timer::time_point::max());
  co_await daemon.changed.async_wait(asio::as_tuple(asio::use_awaitable));
}

Task<void> echo_when_closed(FakeDaemon& daemon, rpc::Exchange& exchange) {
  while (!daemon.stdin_closed) co_await until_changed(daemon);
  co_await FakeDaemon::events(exchange, FakeDaemon::output(daemon.stdin_bytes, ""));
  co_await FakeDaemon::events(exchange, FakeDaemon::ended(0, true, "exit status 0"));
}

Task<void> end_at_signal(FakeDaemon& daemon, rpc::Exchange& exchange) {
  co_await FakeDaemon::events(exchange, FakeDaemon::output("ready", ""));
  while (daemon.signals.empty()) co_await until_changed(daemon);
  co_await FakeDaemon::events(exchange, FakeDaemon::ended(-1, false, "signal: terminated"));
}

// For ever, until the client goes.
Task<void> hang(FakeDaemon&, rpc::Exchange& exchange) {
  auto gone = std::make_shared<asio::steady_timer>(co_await asio::this_coro::executor,
                                                   asio::steady_timer::time_point::max());
  exchange.on_gone([gone] { gone->cancel(); });
  co_await FakeDaemon::events(exchange, FakeDaemon::output("ready", ""));
  co_await gone->async_wait(asio::as_tuple(asio::use_awaitable));
}

Task<void> break_off(FakeDaemon& daemon, rpc::Exchange&) {
  daemon.sandboxes.clear();  // as if it had been killed meanwhile
  co_return;
}

Task<void> fail_to_run(FakeDaemon&, rpc::Exchange& exchange) {
  const std::string end = rpc::envelope(
      rpc::kEnvelopeEnd, R"({"error":{"code":"invalid_argument","message":"no such program\u001b[2J"}})");
  [[maybe_unused]] const Status sent = co_await exchange.write(end);
}

TEST(Run, StreamsBothOutputsPassesTheCodeAndEndsTheSandbox) {
  FakeDaemon daemon;
  FakeConsole console;
  EXPECT_EQ(daemon.run({"run", "--tier", "gvisor", "-e", "A=B", "-u", "root", "--cwd", "/w", "--", "prog", "--flag", ""}, console), 7);
  EXPECT_EQ(console.out, "out\n");
  EXPECT_EQ(console.err, "err\n");
  EXPECT_EQ(daemon.killed, Words{"abc1"});
  EXPECT_EQ(daemon.last_create.at("metadata").at("atoll.tier").as_string(), "gvisor");
  EXPECT_EQ(daemon.started.process().cmd(), "prog");
  ASSERT_EQ(daemon.started.process().args_size(), 2);
  EXPECT_EQ(daemon.started.process().args(0), "--flag");
  EXPECT_EQ(daemon.started.process().args(1), "");
  EXPECT_EQ(daemon.started.process().envs().at("A"), "B");
  EXPECT_EQ(daemon.started.process().cwd(), "/w");
  EXPECT_EQ(daemon.start_user, "Basic cm9vdDo=");
}

TEST(Run, KeepLeavesItAndTellsTheId) {
  FakeDaemon daemon;
  FakeConsole console;
  EXPECT_EQ(daemon.run({"run", "--keep", "--", "x"}, console), 7);
  EXPECT_TRUE(daemon.killed.empty());
  EXPECT_NE(console.err.find("abc1"), std::string::npos);
}

TEST(Run, PassesStandardInputAndItsEnd) {
  FakeDaemon daemon;
  daemon.script = echo_when_closed;
  FakeConsole console;
  console.input = {"one ", "two"};
  EXPECT_EQ(daemon.run({"run", "--", "cat"}, console), 0);
  EXPECT_TRUE(daemon.started.stdin());
  EXPECT_EQ(console.out, "one two");
}

TEST(Run, NoInputFromATerminalUnlessAsked) {
  FakeDaemon daemon;
  FakeConsole console;
  console.terminal = true;
  daemon.run({"run", "--", "x"}, console);
  EXPECT_FALSE(daemon.started.stdin());
  daemon.run({"run", "-i", "--", "x"}, console);
  EXPECT_TRUE(daemon.started.stdin());
  FakeConsole piped;
  daemon.run({"run", "-n", "--", "x"}, piped);
  EXPECT_FALSE(daemon.started.stdin());
  piped.empty_input = true;
  daemon.run({"run", "--", "x"}, piped);
  EXPECT_FALSE(daemon.started.stdin());
}

TEST(Run, ASignalEndsTheSandboxAtOnce) {
  FakeDaemon daemon;
  daemon.script = hang;
  Interrupts interrupts(daemon.loop.get_executor());
  FakeConsole console;
  console.on_write = [&] { if (console.out == "ready" && interrupts.count() == 0) interrupts.inject(SIGTERM); };
  EXPECT_EQ(daemon.run({"run", "--", "x"}, console, &interrupts), 128 + SIGTERM);
  EXPECT_EQ(daemon.killed, Words{"abc1"});
}

TEST(Run, ASignalBeforeTheAnswerStillEndsTheSandbox) {
  FakeDaemon daemon;
  Interrupts interrupts(daemon.loop.get_executor());
  interrupts.inject(SIGINT);
  FakeConsole console;
  EXPECT_EQ(daemon.run({"run", "--", "x"}, console, &interrupts), 128 + SIGINT);
  EXPECT_EQ(daemon.killed, Words{"abc1"});
  EXPECT_EQ(daemon.started.process().cmd(), "");
}

TEST(Run, AReaderThatGoesAwayEndsIt) {
  FakeDaemon daemon;
  daemon.script = hang;
  FakeConsole console;
  console.broken_after = 2;
  EXPECT_EQ(daemon.run({"run", "--", "yes"}, console), 128 + SIGPIPE);
  EXPECT_EQ(console.err, "");
  EXPECT_EQ(daemon.signals, std::vector<int>{SIGTERM});
  EXPECT_EQ(daemon.killed, Words{"abc1"});
}

TEST(Exec, ASignalIsPassedOn) {
  FakeDaemon daemon;
  daemon.sandboxes = {"abc1"};
  daemon.script = end_at_signal;
  Interrupts interrupts(daemon.loop.get_executor());
  FakeConsole console;
  console.on_write = [&] { if (interrupts.count() == 0) interrupts.inject(SIGINT); };
  EXPECT_EQ(daemon.run({"exec", "abc1", "--", "x"}, console, &interrupts), 128 + SIGTERM);
  EXPECT_EQ(daemon.signals, std::vector<int>{SIGTERM});
  EXPECT_TRUE(daemon.killed.empty());
}

TEST(Exec, AnUnknownSandboxIsThree) {
  FakeDaemon daemon;
  FakeConsole console;
  EXPECT_EQ(daemon.run({"exec", "zzz", "--", "x"}, console), kExitNotFound);
}

TEST(Exec, ABrokenStreamTellsThatTheSandboxEnded) {
  FakeDaemon daemon;
  daemon.sandboxes = {"abc1"};
  daemon.script = break_off;
  FakeConsole console;
  EXPECT_EQ(daemon.run({"exec", "abc1", "--", "x"}, console), kExitNotFound) << console.err;
  EXPECT_NE(console.err.find("ended while the command ran"), std::string::npos) << console.err;
}

TEST(Exec, AFailureIsEscapedAndHintsAtTheShell) {
  FakeDaemon daemon;
  daemon.sandboxes = {"abc1"};
  daemon.script = fail_to_run;
  FakeConsole console;
  EXPECT_EQ(daemon.run({"exec", "abc1", "--", "echo hi"}, console), kExitOther);
  EXPECT_NE(console.err.find("\\x1b[2J"), std::string::npos) << console.err;
  EXPECT_NE(console.err.find("--shell"), std::string::npos) << console.err;
}

TEST(Commands, WithoutADaemonIsFive) {
  FakeDaemon daemon;
  FakeConsole console;
  daemon.server.reset();
  EXPECT_EQ(daemon.run({"ls"}, console), kExitUnreachable) << console.err;
  EXPECT_NE(console.err.find("atoll start"), std::string::npos);
}

TEST(Commands, CreateListKill) {
  FakeDaemon daemon;
  FakeConsole console;
  EXPECT_EQ(daemon.run({"create", "--timeout", "5m", "-e", "A=1"}, console), 0);
  EXPECT_EQ(console.out, "abc1\n");
  EXPECT_EQ(daemon.last_create.at("timeout").as_int64(), 300);
  EXPECT_EQ(daemon.last_create.at("envVars").at("A").as_string(), "1");
  console.out.clear();
  EXPECT_EQ(daemon.run({"ls", "--json"}, console), 0);
  const auto listed = parse_json(console.out);
  ASSERT_TRUE(listed.ok());
  EXPECT_EQ(listed->as_array().size(), 1u);
  EXPECT_EQ(daemon.run({"kill", "--all"}, console), 0);
  EXPECT_EQ(daemon.killed, Words{"abc1"});
  EXPECT_EQ(daemon.run({"kill", "abc1"}, console), kExitNotFound);
}

struct Folder {
  std::string path = "/tmp/atoll-cli-XXXXXX";
  Folder() { EXPECT_NE(::mkdtemp(path.data()), nullptr); }
  ~Folder() { EXPECT_TRUE(remove_tree(path).ok()); }
};

TEST(Copy, BothWays) {
  FakeDaemon daemon;
  daemon.sandboxes = {"abc1"};
  FakeConsole console;
  Folder folder;
  std::string big(3'000'000, '\0');
  for (std::size_t i = 0; i < big.size(); ++i) big[i] = static_cast<char>(i * 31 + i / 255);
  ASSERT_TRUE(write_file_atomic(folder.path + "/in", big, 0644).ok());
  EXPECT_EQ(daemon.run({"cp", folder.path + "/in", "abc1:folder"}, console), 0) << console.err;
  EXPECT_EQ(daemon.files["folder/in"], big);
  EXPECT_EQ(daemon.run({"cp", "abc1:folder/in", folder.path + "/out"}, console), 0) << console.err;
  EXPECT_EQ(*read_file(folder.path + "/out", 10u << 20), big);
  console.input = {"from ", "stdin"};
  EXPECT_EQ(daemon.run({"cp", "-", "abc1:piped"}, console), 0) << console.err;
  EXPECT_EQ(daemon.files["piped"], "from stdin");
  console.out.clear();
  EXPECT_EQ(daemon.run({"cp", "abc1:piped", "-"}, console), 0);
  EXPECT_EQ(console.out, "from stdin");
  EXPECT_EQ(daemon.run({"cp", "abc1:missing", folder.path}, console), kExitNotFound);
  EXPECT_EQ(*list_dir(folder.path), (Words{"in", "out"}));
}

// What a sandbox may say of its files, and what must not come of it here.
TEST(Copy, HostileNamesAndLinksStayInside) {
  FakeDaemon daemon;
  daemon.sandboxes = {"abc1"};
  FakeConsole console;
  Folder folder;
  const auto add = [&](std::string name, filesystem::FileType type, bool link) {
    auto& entry = *daemon.listing.add_entries();
    entry.set_name(name);
    entry.set_path("/etc/passwd");
    entry.set_type(type);
    entry.set_is_symlink(link);
    entry.set_mode(06777);
    daemon.files["folder/" + name] = "bytes";
  };
  for (const char* name : {"..", ".", "", "../evil", "/etc/evil", "a/b"}) add(name, filesystem::FILE_TYPE_FILE, false);
  add(std::string("nul\0x", 5), filesystem::FILE_TYPE_FILE, false);
  add("loop", filesystem::FILE_TYPE_DIRECTORY, true);
  add("fine", filesystem::FILE_TYPE_FILE, false);
  // A link that lies in wait on this machine is not written through.
  ASSERT_EQ(::mkdir((folder.path + "/folder").c_str(), 0755), 0);
  ASSERT_EQ(::symlink("/tmp/atoll-cli-must-not-appear", (folder.path + "/folder/fine").c_str()), 0);
  EXPECT_EQ(daemon.run({"cp", "abc1:folder", folder.path}, console), 0) << console.err;
  EXPECT_EQ(*list_dir(folder.path), Words{"folder"});
  EXPECT_EQ(*list_dir(folder.path + "/folder"), Words{"fine"});
  struct stat info {};
  ASSERT_EQ(::lstat((folder.path + "/folder/fine").c_str(), &info), 0);
  EXPECT_TRUE(S_ISREG(info.st_mode));
  EXPECT_EQ(info.st_mode & 07000, 0u);  // no set-user-id out of a sandbox
  EXPECT_FALSE(exists("/tmp/atoll-cli-must-not-appear"));
  EXPECT_NE(console.err.find("skipped"), std::string::npos);
}

TEST(Env, PrintsWhatAShellEvaluates) {
  FakeDaemon daemon;
  FakeConsole console;
  EXPECT_EQ(daemon.run({"env"}, console), 0);
  const std::string url = "http://127.0.0.1:" + std::to_string(daemon.port);
  EXPECT_EQ(console.out, "export E2B_API_KEY='e2b_0123'\nexport E2B_API_URL='" + url + "'\nexport E2B_SANDBOX_URL='" +
                             url + "'\n");
}

}  // namespace
}  // namespace atl::cli
