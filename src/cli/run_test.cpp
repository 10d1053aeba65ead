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

Task<void> run_out_of_time(FakeDaemon&, rpc::Exchange& exchange) {
  const std::string end =
      rpc::envelope(rpc::kEnvelopeEnd, R"({"error":{"code":"deadline_exceeded","message":"the time has run out"}})");
  [[maybe_unused]] const Status sent = co_await exchange.write(end);
}

// Ignores the first signal, but says so.
Task<void> interrupt_again(FakeDaemon& daemon, rpc::Exchange& exchange) {
  auto gone = std::make_shared<bool>(false);
  exchange.on_gone([gone, &daemon] { *gone = true; daemon.changed.cancel(); });
  co_await FakeDaemon::events(exchange, FakeDaemon::output("ready", ""));
  while (daemon.signals.empty() && !*gone) co_await until_changed(daemon);
  co_await FakeDaemon::events(exchange, FakeDaemon::output("again", ""));
  while (!*gone) co_await until_changed(daemon);
}

Task<void> tell_target(FakeDaemon&, rpc::Exchange& exchange) {
  co_await FakeDaemon::events(exchange, FakeDaemon::output("../../etc", ""));
  co_await FakeDaemon::events(exchange, FakeDaemon::ended(0, true, "exit status 0"));
}

Task<void> tell_inner_target(FakeDaemon&, rpc::Exchange& exchange) {
  co_await FakeDaemon::events(exchange, FakeDaemon::output("sub/to", ""));
  co_await FakeDaemon::events(exchange, FakeDaemon::ended(0, true, "exit status 0"));
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
  EXPECT_EQ(daemon.signals, std::vector<int>{SIGINT});
  EXPECT_TRUE(daemon.killed.empty());
}

TEST(Exec, ASignalThatCannotBePassedOnEndsItHere) {
  FakeDaemon daemon;
  daemon.sandboxes = {"abc1"};
  daemon.script = hang;
  daemon.refuses_signals = true;
  Interrupts interrupts(daemon.loop.get_executor());
  FakeConsole console;
  console.on_write = [&] { if (interrupts.count() == 0) interrupts.inject(SIGINT); };
  EXPECT_EQ(daemon.run({"exec", "abc1", "--", "x"}, console, &interrupts), 130);
  EXPECT_EQ(daemon.signals, std::vector<int>{SIGINT});
}

TEST(Exec, ASecondInterruptKillsIt) {
  FakeDaemon daemon;
  daemon.sandboxes = {"abc1"};
  daemon.script = interrupt_again;
  Interrupts interrupts(daemon.loop.get_executor());
  FakeConsole console;
  console.on_write = [&] { if (console.out == "ready" || console.out == "readyagain") interrupts.inject(SIGINT); };
  EXPECT_EQ(daemon.run({"exec", "abc1", "--", "x"}, console, &interrupts), 130);
  EXPECT_EQ(daemon.signals, (std::vector<int>{SIGINT, SIGKILL}));
  EXPECT_EQ(console.err, "");
}

TEST(Run, AnInterruptIsPassedOnAndTheSecondEndsTheSandbox) {
  FakeDaemon daemon;
  daemon.script = interrupt_again;
  Interrupts interrupts(daemon.loop.get_executor());
  FakeConsole console;
  console.on_write = [&] { if (console.out == "ready" || console.out == "readyagain") interrupts.inject(SIGINT); };
  EXPECT_EQ(daemon.run({"run", "--", "x"}, console, &interrupts), 130);
  EXPECT_EQ(daemon.signals, std::vector<int>{SIGINT});
  EXPECT_EQ(daemon.killed, Words{"abc1"});
}

TEST(Exec, ItsTimeoutIsTheAgentsToKeepAnd124) {
  FakeDaemon daemon;
  daemon.sandboxes = {"abc1"};
  daemon.script = run_out_of_time;
  FakeConsole console;
  EXPECT_EQ(daemon.run({"exec", "abc1", "--timeout", "3", "--", "x"}, console), kExitTimeout);
  EXPECT_EQ(daemon.start_timeout, "3000");
  EXPECT_NE(console.err.find("--timeout of 3s"), std::string::npos) << console.err;
}

// What cannot be started, in the agent's words.
TEST(Exec, CodesOfCommandsThatDidNotStart) {
  const std::vector<std::tuple<std::string, std::string, int>> cases = {
      {"not_found", "exec: 'x': executable file not found in $PATH", 127},
      {"not_found", "exec '/x': No such file or directory", 127},
      {"permission_denied", "exec '/x': Permission denied", 126},
      {"invalid_argument", "exec '/x': Exec format error", 126},
      {"invalid_argument", "cwd '/x' does not exist", 126},
      {"unauthenticated", "invalid username: 'x'", 126},
      {"resource_exhausted", "too many commands run in this sandbox", 125},
      {"not_found", "sandbox was not found", 125}};
  for (const auto& [code, message, exit_code] : cases) {
    FakeDaemon daemon;
    daemon.sandboxes = {"abc1"};
    daemon.refusal = R"({"error":{"code":")" + code + R"(","message":")" + message + "\"}}";
    FakeConsole console;
    EXPECT_EQ(daemon.run({"exec", "abc1", "--", "x"}, console), exit_code) << message << ": " << console.err;
    EXPECT_FALSE(console.err.empty());
  }
}

TEST(ExitCodes, OfSignals) {
  EXPECT_EQ(exit_code_of_process(-1, false, "signal: interrupt"), 130);
  EXPECT_EQ(exit_code_of_process(-1, false, "signal: segmentation fault (core dumped)"), 139);
  EXPECT_EQ(exit_code_of_process(-1, false, "signal: signal 31"), 159);
  EXPECT_EQ(exit_code_of_process(-1, false, "signal: signal 99999999999"), 255);
  EXPECT_EQ(exit_code_of_process(-1, false, "eaten"), 255);
}

TEST(Exec, AnUnknownSandboxIsAtollsFailure) {
  FakeDaemon daemon;
  FakeConsole console;
  EXPECT_EQ(daemon.run({"exec", "zzz", "--", "x"}, console), kExitAtoll);
}

TEST(Exec, ABrokenStreamTellsThatTheSandboxEnded) {
  FakeDaemon daemon;
  daemon.sandboxes = {"abc1"};
  daemon.script = break_off;
  FakeConsole console;
  EXPECT_EQ(daemon.run({"exec", "abc1", "--", "x"}, console), kExitAtoll) << console.err;
  EXPECT_NE(console.err.find("ended while the command ran"), std::string::npos) << console.err;
}

TEST(Run, TheEndOfItsTimeIs124) {
  FakeDaemon daemon;
  daemon.script = break_off;
  FakeConsole console;
  EXPECT_EQ(daemon.run({"run", "--timeout", "1", "--", "x"}, console), kExitTimeout) << console.err;
  EXPECT_NE(console.err.find("its --timeout ran out"), std::string::npos) << console.err;
  EXPECT_EQ(daemon.run({"run", "--timeout", "1h", "--", "x"}, console), kExitAtoll) << console.err;
}

TEST(Exec, AFailureIsEscapedAndHintsAtTheShell) {
  FakeDaemon daemon;
  daemon.sandboxes = {"abc1"};
  daemon.refusal = R"({"error":{"code":"not_found","message":"exec '\u001b[2J': no"}})";
  FakeConsole console;
  EXPECT_EQ(daemon.run({"exec", "abc1", "--", "echo hi"}, console), kExitNoCommand);
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

TEST(Commands, TimeoutSpeaksJson) {
  FakeDaemon daemon;
  daemon.sandboxes = {"abc1"};
  FakeConsole console;
  EXPECT_EQ(daemon.run({"timeout", "abc1", "5m", "--json"}, console), 0) << console.err;
  EXPECT_EQ(console.out, "{\"sandboxID\":\"abc1\",\"seconds\":300}\n");
}

TEST(Tiers, TellWhichIsAutoAndWhyOthersDoNotWork) {
  FakeDaemon daemon;
  daemon.rest["/atoll/v1/tiers"] = R"({"tiers":[
    {"name":"gvisor","works":true,"auto":true,"reason":"a sandbox was started","runtime":"runsc","version":"1"},
    {"name":"microvm","works":false,"auto":false,"reason":"no /dev/kvm","runtime":"","version":""}]})";
  FakeConsole console;
  EXPECT_EQ(daemon.run({"tiers"}, console), 0) << console.err;
  EXPECT_NE(console.out.find("WHY NOT"), std::string::npos) << console.out;
  EXPECT_NE(console.out.find("gvisor   yes    yes   runsc"), std::string::npos) << console.out;
  EXPECT_EQ(console.out.find("a sandbox was started"), std::string::npos) << console.out;
  EXPECT_NE(console.out.find("no /dev/kvm"), std::string::npos) << console.out;
}

TEST(Templates, AreListed) {
  FakeDaemon daemon;
  daemon.rest["/templates"] = R"([{"templateID":"t1","names":["ba\u001bse"],"cpuCount":2,"memoryMB":1024,
    "diskSizeMB":10240,"createdAt":"2030-01-01T00:00:00Z"}])";
  FakeConsole console;
  EXPECT_EQ(daemon.run({"template", "list"}, console), 0) << console.err;
  EXPECT_NE(console.out.find("ba\\x1bse"), std::string::npos) << console.out;
  EXPECT_NE(console.out.find("10240 MB"), std::string::npos) << console.out;
  EXPECT_EQ(console.out.find("TIER"), std::string::npos) << console.out;
  console.out.clear();
  EXPECT_EQ(daemon.run({"templates", "--json"}, console), 0);
  EXPECT_EQ(parse_json(console.out)->at(0).at("templateID").as_string(), "t1");
  console.out.clear();
  daemon.rest["/templates"] = R"([{"templateID":"t1","atoll":{"tier":""}},{"templateID":"t2","atoll":{"tier":"gvisor"}}])";
  EXPECT_EQ(daemon.run({"templates"}, console), 0);
  EXPECT_NE(console.out.find("t2  gvisor"), std::string::npos) << console.out;
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
  // The agent's word for the link's target, and readlink's.
  daemon.script = tell_target;
  EXPECT_EQ(daemon.run({"cp", "abc1:folder", folder.path}, console), kExitOther) << console.err;
  EXPECT_NE(console.err.find("../../etc"), std::string::npos) << console.err;
  EXPECT_EQ(*list_dir(folder.path), Words{"folder"});
  EXPECT_EQ(*list_dir(folder.path + "/folder"), Words{"fine"});
  struct stat info {};
  ASSERT_EQ(::lstat((folder.path + "/folder/fine").c_str(), &info), 0);
  EXPECT_TRUE(S_ISREG(info.st_mode));
  EXPECT_EQ(info.st_mode & 07000, 0u);  // no set-user-id out of a sandbox
  EXPECT_FALSE(exists("/tmp/atoll-cli-must-not-appear"));
  EXPECT_NE(console.err.find("skipped"), std::string::npos);
}

TEST(Copy, LinksOfATreeStayLinksBothWays) {
  FakeDaemon daemon;
  daemon.sandboxes = {"abc1"};
  daemon.script = tell_inner_target;
  FakeConsole console;
  Folder folder;
  auto& entry = *daemon.listing.add_entries();
  entry.set_name("link");
  entry.set_type(filesystem::FILE_TYPE_FILE);
  entry.set_is_symlink(true);
  EXPECT_EQ(daemon.run({"cp", "abc1:folder", folder.path}, console), 0) << console.err;
  char target[64] = {};
  EXPECT_EQ(::readlink((folder.path + "/folder/link").c_str(), target, sizeof target), 6);
  EXPECT_STREQ(target, "sub/to");
  EXPECT_EQ(daemon.started.process().cmd(), "readlink");
  EXPECT_EQ(daemon.started.process().cwd(), "~");
  EXPECT_EQ(daemon.run({"cp", folder.path + "/folder", "abc1:new"}, console), 0) << console.err;
  EXPECT_EQ(daemon.started.process().cmd(), "ln");
  EXPECT_EQ(daemon.started.process().args(2), "sub/to");
  EXPECT_EQ(daemon.started.process().args(3), "new/link");
  ASSERT_EQ(::symlink("/etc/passwd", (folder.path + "/folder/out").c_str()), 0);
  EXPECT_EQ(daemon.run({"cp", folder.path + "/folder", "abc1:new"}, console), kExitOther);
  EXPECT_NE(console.err.find("skipped out: a link to /etc/passwd"), std::string::npos) << console.err;
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
