#include <fcntl.h>

#include "agent/files/guest_path.h"
#include "agent/files/testing/files_fixture.h"
#include "agent/files/tree_ops.h"
#include "agent/files/watchers.h"
#include "rpc/connect.h"

namespace atl::agent {
namespace {

using testing::FakeExchange;
using testing::put;
using testing::TempDir;

const WalkOptions kOptions;

class Tree : public ::testing::Test {
 protected:
  void open(bool recursive, WatchLimits limits = {}) {
    auto opened = WatchTree::open(dir.path(), recursive, false, kOptions, limits);
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    tree = std::move(opened).value();
  }
  // Everything that is in the queue, as "create a, write a". inotify queues within the changing call.
  std::string changes() {
    static constexpr const char* kNames[] = {"?", "create", "write", "remove", "rename", "chmod"};
    std::string out;
    for (;;) {
      auto some = tree->read_changes();
      if (!some.ok()) return some.error().message;
      if (some->empty()) return out;
      for (const auto& change : *some)
        out.append(out.empty() ? "" : ", ").append(kNames[change.type]).append(" ").append(change.name);
    }
  }
  TempDir dir;
  std::unique_ptr<WatchTree> tree;
};

TEST_F(Tree, TellsWhatHappensInAFolder) {
  open(false);
  put(dir / "a", "x");
  EXPECT_EQ(changes(), "create a, write a, chmod a");
  ::rename((dir / "a").c_str(), (dir / "b").c_str());
  EXPECT_EQ(changes(), "rename a, create b");
  ::unlink((dir / "b").c_str());
  EXPECT_EQ(changes(), "remove b");
  ::mkdir((dir / "sub").c_str(), 0755);
  put(dir / "sub/x", "x");
  EXPECT_EQ(changes(), "create sub");
}

TEST_F(Tree, RecursiveFollowsNewFolders) {
  ::mkdir((dir / "old").c_str(), 0755);
  open(true);
  put(dir / "old/f", "x");
  EXPECT_EQ(changes(), "create old/f, write old/f, chmod old/f");
  // Content that came before the watch could be there is announced, once.
  ::mkdir((dir / "new").c_str(), 0755);
  ::mkdir((dir / "new/deep").c_str(), 0755);
  put(dir / "new/deep/f", "x");
  EXPECT_EQ(changes(), "create new, create new/deep, create new/deep/f");
  put(dir / "new/deep/g", "");
  EXPECT_EQ(changes(), "create new/deep/g, chmod new/deep/g");
  EXPECT_EQ(tree->folders(), 4u);
}

TEST_F(Tree, MovedFoldersGetTheirNewNames) {
  ::mkdir((dir / "a").c_str(), 0755);
  ::mkdir((dir / "a/s").c_str(), 0755);
  TempDir outside;
  open(true);
  ::rename((dir / "a").c_str(), (dir / "b").c_str());
  EXPECT_EQ(changes(), "rename a, create b, create b/s");
  put(dir / "b/s/f", "");
  EXPECT_EQ(changes(), "create b/s/f, chmod b/s/f");
  ::rename((dir / "b").c_str(), (outside / "b").c_str());
  EXPECT_EQ(changes(), "rename b");
  put(outside / "b/s/g", "");
  EXPECT_EQ(changes(), "");
  EXPECT_EQ(tree->folders(), 1u);
}

TEST_F(Tree, RemovedFoldersAreForgotten) {
  ASSERT_TRUE(make_dir(dir / "a/b", kOptions, Owner{::getuid(), ::getgid()}).ok());
  open(true);
  ASSERT_TRUE(remove_entry(dir / "a", kOptions).ok());
  EXPECT_EQ(changes(), "remove a/b, remove a");
  EXPECT_EQ(tree->folders(), 1u);
  ::rmdir(dir.path().c_str());
  EXPECT_EQ(changes(), "remove .");
}

TEST_F(Tree, LinksAreNotEntered) {
  TempDir outside;
  ::mkdir((outside / "x").c_str(), 0755);
  ASSERT_EQ(::symlink(outside.path().c_str(), (dir / "link").c_str()), 0);
  open(true);
  EXPECT_EQ(tree->folders(), 1u);
}

TEST_F(Tree, TooManyFoldersAreAnError) {
  for (int i = 0; i < 5; ++i) ::mkdir((dir / std::to_string(i)).c_str(), 0755);
  EXPECT_EQ(WatchTree::open(dir.path(), true, false, kOptions, {5}).error().code, Errc::exhausted);
  open(true, {6});
  ::mkdir((dir / "one-more").c_str(), 0755);
  EXPECT_EQ(tree->read_changes().error().code, Errc::exhausted);
}

TEST_F(Tree, LostEventsAreAnError) {
  auto bound = read_file("/proc/sys/fs/inotify/max_queued_events", 64);
  if (!bound.ok() || std::stoul(*bound) > 200'000) GTEST_SKIP() << "needs a bounded inotify queue";
  open(false);
  put(dir / "a", "");
  put(dir / "b", "");
  // Two names in turn, so that the kernel cannot merge equal neighbours.
  for (unsigned long i = 0; i < std::stoul(*bound) / 2 + 100; ++i) {
    ::chmod((dir / "a").c_str(), 0644);
    ::chmod((dir / "b").c_str(), 0644);
  }
  EXPECT_NE(changes().find("dropped"), std::string::npos);
}

TEST_F(Tree, RefusesWhatCannotBeWatched) {
  put(dir / "file", "");
  EXPECT_EQ(WatchTree::open(dir / "file", false, false, kOptions, {}).error().code, Errc::invalid);
  EXPECT_EQ(WatchTree::open(dir / "none", false, false, kOptions, {}).error().code, Errc::not_found);
}

class Watching : public testing::FilesFixture {
 protected:
  std::string json_of(FakeExchange& exchange, Task<void> task) {
    run(std::move(task));
    return exchange.reply_body;
  }
  FakeExchange unary(std::string body) {
    FakeExchange exchange("POST", "/", std::move(body));
    exchange.with("content-type", "application/json");
    return exchange;
  }
  std::string create(Watchers& watchers, const std::string& options = "") {
    auto exchange = unary("{\"path\":\"" + dir.path() + "\"" + options + "}");
    run(watchers.create_watcher(exchange, Codec::json));
    EXPECT_EQ(exchange.status(), 200) << exchange.reply_body;
    const auto at = exchange.reply_body.find(":\"");
    return exchange.status() == 200 ? exchange.reply_body.substr(at + 2, exchange.reply_body.size() - at - 4)
                                    : "";
  }
  // Asks until something is there: the events come by the loop and the pool.
  std::string events(Watchers& watchers, const std::string& id) {
    for (int round = 0; round < 100'000; ++round) {
      auto exchange = unary("{\"watcherId\":\"" + id + "\"}");
      run(watchers.get_events(exchange, Codec::json));
      if (exchange.reply_body != "{}") return exchange.reply_body;
    }
    return "nothing came";
  }
};

TEST_F(Watching, WatcherIsPolledAndRemoved) {
  Watchers watchers(context);
  const std::string id = create(watchers);
  ::mkdir((dir / "d").c_str(), 0755);
  EXPECT_EQ(events(watchers, id), R"({"events":[{"name":"d","type":"EVENT_TYPE_CREATE"}]})");
  auto removal = unary("{\"watcherId\":\"" + id + "\"}");
  run(watchers.remove_watcher(removal, Codec::json));
  EXPECT_EQ(removal.reply_body, "{}");
  EXPECT_EQ(watchers.live(), 0u);
  auto gone = unary("{\"watcherId\":\"" + id + "\"}");
  run(watchers.get_events(gone, Codec::json));
  EXPECT_EQ(gone.status(), 404);
}

TEST_F(Watching, EntriesComeWhereAsked) {
  Watchers watchers(context);
  const std::string id = create(watchers, ",\"includeEntry\":true,\"recursive\":true");
  ::mkdir((dir / "d").c_str(), 0755);
  const std::string seen = events(watchers, id);
  EXPECT_NE(seen.find("\"path\":\"" + dir.path() + "/d\""), std::string::npos) << seen;
  EXPECT_NE(seen.find("FILE_TYPE_DIRECTORY"), std::string::npos);
}

TEST_F(Watching, IdleWatchersExpire) {
  Watchers watchers(context);
  const std::string idle = create(watchers);
  clock.advance(std::chrono::minutes(20));
  const std::string asked = create(watchers);
  clock.advance(std::chrono::minutes(11));
  auto exchange = unary("{\"watcherId\":\"" + idle + "\"}");
  run(watchers.get_events(exchange, Codec::json));
  EXPECT_EQ(exchange.status(), 404);
  EXPECT_EQ(watchers.live(), 1u);
}

TEST_F(Watching, NumbersAreBounded) {
  WatchersLimits limits;
  limits.watches_max = 1;
  limits.queued_events_max = 2;
  Watchers watchers(context, limits);
  const std::string id = create(watchers);
  auto second = unary("{\"path\":\"" + dir.path() + "\"}");
  run(watchers.create_watcher(second, Codec::json));
  EXPECT_EQ(second.status(), 429);
  for (int i = 0; i < 3; ++i) ::mkdir((dir / std::to_string(i)).c_str(), 0755);
  std::string seen = events(watchers, id);
  if (seen.find("events") == 2) seen = events(watchers, id);
  EXPECT_NE(seen.find("resource_exhausted"), std::string::npos) << seen;
}

std::vector<std::string> payloads(std::string_view bytes) {
  std::vector<std::string> out;
  while (bytes.size() >= 5) {
    std::size_t length = 0;
    for (int i = 1; i < 5; ++i) length = length << 8 | static_cast<unsigned char>(bytes[i]);
    out.push_back((bytes[0] == 2 ? "END " : "") + std::string(bytes.substr(5, length)));
    bytes.remove_prefix(std::min(5 + length, bytes.size()));
  }
  return out;
}

FakeExchange stream_request(const std::string& path) {
  FakeExchange exchange("POST", "/", rpc::envelope(0, "{\"path\":\"" + path + "\"}"));
  exchange.with("content-type", "application/connect+json");
  return exchange;
}

TEST_F(Watching, StreamStartsAndTells) {
  Watchers watchers(context);
  auto exchange = stream_request(dir.path());
  int writes = 0;
  exchange.on_write = [&] {
    if (++writes == 1) ::mkdir((dir / "d").c_str(), 0755);
    if (writes == 2) exchange.leave();
  };
  run(watchers.watch_dir(exchange, Codec::json));
  const auto seen = payloads(exchange.reply_body);
  ASSERT_EQ(seen.size(), 2u) << exchange.reply_body;
  EXPECT_EQ(seen[0], R"({"start":{}})");
  EXPECT_EQ(seen[1], R"({"filesystem":{"name":"d","type":"EVENT_TYPE_CREATE"}})");
  EXPECT_EQ(watchers.live(), 0u);
}

TEST_F(Watching, StreamEndsAtItsDeadlineAndKeepsAlive) {
  Watchers watchers(context);
  auto exchange = stream_request(dir.path());
  exchange.with("connect-timeout-ms", "1100").with("keepalive-ping-interval", "1");
  run(watchers.watch_dir(exchange, Codec::json));
  const auto seen = payloads(exchange.reply_body);
  ASSERT_EQ(seen.size(), 3u) << exchange.reply_body;
  EXPECT_EQ(seen[1], R"({"keepalive":{}})");
  EXPECT_NE(seen[2].find("deadline_exceeded"), std::string::npos) << seen[2];
  EXPECT_TRUE(exchange.finished);
}

TEST_F(Watching, StreamErrorsLieInTheEndFrame) {
  Watchers watchers(context);
  auto exchange = stream_request(dir / "none");
  run(watchers.watch_dir(exchange, Codec::json));
  EXPECT_EQ(exchange.status(), 200);
  const auto seen = payloads(exchange.reply_body);
  ASSERT_EQ(seen.size(), 1u);
  EXPECT_TRUE(seen[0].starts_with("END ")) << seen[0];
  EXPECT_NE(seen[0].find("not_found"), std::string::npos) << seen[0];
}

}  // namespace
}  // namespace atl::agent
