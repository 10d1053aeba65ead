#include "cli/connection.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/testing/needs.h"
#include "cli/backend.h"
#include "cli/copy_links.h"
#include "cli/copy_place.h"
#include "cli/daemon.h"
#include "cli/log_view.h"

namespace atl::cli {
namespace {

struct Folder {
  std::string path = "/tmp/atoll-cli-XXXXXX";
  Folder() { EXPECT_NE(::mkdtemp(path.data()), nullptr); }
  ~Folder() { EXPECT_TRUE(remove_tree(path).ok()); }
};

Environment environment_of(std::map<std::string, std::string> values) {
  return [values](const char* name) -> std::optional<std::string> {
    const auto found = values.find(name);
    return found == values.end() ? std::nullopt : std::optional(found->second);
  };
}

TEST(Endpoint, ParsesItsForms) {
  EXPECT_EQ(*parse_endpoint("http://127.0.0.1:7700"), (Endpoint{"127.0.0.1", 7700}));
  EXPECT_EQ(*parse_endpoint("http://127.0.0.1:80/\n"), (Endpoint{"127.0.0.1", 80}));
  EXPECT_EQ(*parse_endpoint("127.0.0.1"), (Endpoint{"127.0.0.1", 7700}));
  EXPECT_EQ(*parse_endpoint("[::1]:99"), (Endpoint{"::1", 99}));
  EXPECT_EQ(parse_endpoint("[::1]:99")->url(), "http://[::1]:99");
  for (const char* bad : {"", "https://x:1", "ftp://x", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:x", "127.0.0.1:",
                          "h:1/path", "u@h:1", "[::1", ":7700"})
    EXPECT_FALSE(parse_endpoint(bad).ok()) << bad;
}

TEST(Endpoint, OptionThenEnvironmentThenFile) {
  Folder run;
  GlobalOptions options;
  options.run = run.path;
  const auto none = find_endpoint(options, environment_of({}));
  ASSERT_FALSE(none.ok());
  EXPECT_EQ(none.error().code, Errc::unavailable);
  EXPECT_NE(none.error().message.find("atoll start"), std::string::npos);
  ASSERT_TRUE(write_file_atomic(run.path + "/endpoint", "127.0.0.1:1111\n", 0644).ok());
  EXPECT_EQ(find_endpoint(options, environment_of({}))->port, 1111);
  EXPECT_EQ(find_endpoint(options, environment_of({{"E2B_API_URL", "http://127.0.0.1:2222"}}))->port, 2222);
  EXPECT_EQ(find_endpoint(options, environment_of({{"E2B_API_URL", "http://127.0.0.1:2222"},
                                                   {"ATOLL_ENDPOINT", "127.0.0.1:3333"}}))->port, 3333);
  options.endpoint = "127.0.0.1:4444";
  EXPECT_EQ(find_endpoint(options, environment_of({{"ATOLL_ENDPOINT", "127.0.0.1:3333"}}))->port, 4444);
}

TEST(Credentials, FromFileEnvironmentAndRoot) {
  Folder root;
  GlobalOptions options;
  options.root = root.path;
  const auto none = find_credentials(options, environment_of({}));
  ASSERT_FALSE(none.ok());
  EXPECT_EQ(none.error().code, Errc::unauthenticated);
  ASSERT_TRUE(write_file_atomic(root.path + "/credentials.json", R"({"apiKey":"e2b_file","project":"p"})", 0600).ok());
  EXPECT_EQ(find_credentials(options, environment_of({}))->api_key, "e2b_file");
  EXPECT_EQ(find_credentials(options, environment_of({}))->project, "p");
  EXPECT_EQ(find_credentials(options, environment_of({{"E2B_API_KEY", "e2b_env"}}))->api_key, "e2b_env");
  ASSERT_TRUE(write_file_atomic(root.path + "/key", " e2b_bare \n", 0600).ok());
  options.api_key_file = root.path + "/key";
  EXPECT_EQ(find_credentials(options, environment_of({{"E2B_API_KEY", "e2b_env"}}))->api_key, "e2b_bare");
}

TEST(Credentials, RefusesWhatCannotBeAHeader) {
  for (const char* bad : {"", "{}", "{\"apiKey\":\"\"}", "two words", "{\"apiKey\":\"a\\nb\"}", "{\"apiKey\":7}", "{"})
    EXPECT_FALSE(parse_credentials(bad, "f").ok()) << bad;
  EXPECT_FALSE(find_credentials({}, environment_of({{"E2B_API_KEY", "a\nb"}})).ok());
}

TEST(CopyPlace, TellsIdsFromPaths) {
  using Kind = CopyPlace::Kind;
  const auto kind = [](const char* text) { return CopyPlace::parse(text)->kind; };
  EXPECT_EQ(kind("-"), Kind::stream);
  EXPECT_EQ(kind("abc1:/x"), Kind::sandbox);
  EXPECT_EQ(kind("abc1:"), Kind::sandbox);
  EXPECT_EQ(kind("./abc1:/x"), Kind::host);
  EXPECT_EQ(kind("/a:b"), Kind::host);
  EXPECT_EQ(kind("ABC:x"), Kind::host);
  EXPECT_EQ(kind("plain"), Kind::host);
  EXPECT_EQ(kind(":x"), Kind::host);
  EXPECT_EQ(CopyPlace::parse("abc1:a:b")->path, "a:b");
  EXPECT_EQ(CopyPlace::parse("abc1:a:b")->id, "abc1");
  EXPECT_FALSE(CopyPlace::parse("").ok());
}

TEST(CopyPlace, Names) {
  EXPECT_EQ(base_name("/a/b/"), "b");
  EXPECT_EQ(base_name("a"), "a");
  EXPECT_EQ(base_name("/"), "");
  EXPECT_EQ(base_name(".."), "");
  EXPECT_EQ(base_name("a/."), "");
  EXPECT_EQ(join_path("", "n"), "n");
  EXPECT_EQ(join_path("/", "n"), "/n");
  EXPECT_EQ(join_path("a/", "n"), "a/n");
  for (const char* bad : {"", ".", "..", "a/b", "/"}) EXPECT_FALSE(is_safe_name(bad)) << bad;
  EXPECT_FALSE(is_safe_name(std::string("a\0b", 3)));
  EXPECT_FALSE(is_safe_name(std::string(256, 'x')));
  EXPECT_TRUE(is_safe_name("..."));
}

TEST(CopyLinks, OnlyThoseThatCannotLeaveTheTree) {
  for (const char* fine : {"a", "a/b", "./a", "a//b/", "...", "..a"}) EXPECT_TRUE(stays_inside(fine, 0)) << fine;
  for (const char* fine : {"../a", "..", "../../a", ".././../a/b"}) EXPECT_TRUE(stays_inside(fine, 2)) << fine;
  for (const char* bad : {"", "/", "/a", "..", "../a", "a/..", "a/../b", "./../a", "a/../../b"})
    EXPECT_FALSE(stays_inside(bad, 0)) << bad;
  // "a" may be a link itself, and its ".." anywhere.
  for (const char* bad : {"a/../b", "../a/..", "../../../a"}) EXPECT_FALSE(stays_inside(bad, 2)) << bad;
  EXPECT_FALSE(stays_inside(std::string("a\0b", 3), 0));
  EXPECT_FALSE(stays_inside(std::string(4096, 'x'), 0));
}

TEST(ErrorOfReply, AdviceIsGivenOnce) {
  const Error told = error_of_reply(401, R"({"code":401,"message":"the API key is not known here; check E2B_API_KEY"})", "x");
  EXPECT_EQ(told.message, "the API key is not known here; check E2B_API_KEY");
  EXPECT_NE(error_of_reply(401, R"({"code":401,"message":"m"})", "x").message.find("--api-key-file"), std::string::npos);
}

TEST(ErrorOfReply, KnowsBothKindsOfError) {
  EXPECT_EQ(error_of_reply(404, R"({"code":404,"message":"gone"})", "GET /x").code, Errc::not_found);
  EXPECT_EQ(error_of_reply(400, R"({"code":"already_exists","message":"m"})", "x").code, Errc::exists);
  EXPECT_EQ(error_of_reply(503, R"({"code":503,"message":"full"})", "x").code, Errc::exhausted);
  EXPECT_EQ(error_of_reply(502, R"({"message":"The sandbox was not found"})", "x").code, Errc::not_found);
  EXPECT_EQ(error_of_reply(401, R"({"code":401,"message":"m"})", "x").code, Errc::unauthenticated);
  const Error bare = error_of_reply(500, "<html>", "GET /x");
  EXPECT_EQ(bare.code, Errc::internal);
  EXPECT_NE(bare.message.find("GET /x"), std::string::npos);
  EXPECT_NE(bare.message.find("500"), std::string::npos);
  EXPECT_EQ(error_of_reply(418, "[]", "x").code, Errc::internal);
}

TEST(ListTarget, EscapesMetadataAsTheSdksDo) {
  EXPECT_EQ(list_target("", {{"k y", "v&1"}}, ""), "/v2/sandboxes?limit=100&metadata=k%252520y%3Dv%2525261");
  EXPECT_EQ(list_target("running,paused", {}, "t+/"), "/v2/sandboxes?limit=100&state=running%2Cpaused&nextToken=t%2B%2F");
}

TEST(PidFile, HoldsPidAndStartTime) {
  EXPECT_EQ(parse_pid_file("21536 504150\n"), (ProcessId{21536, 504150}));
  for (const char* bad : {"", "x", "21536", "1 5", "0 5", "-4 5", "99999999 5"}) EXPECT_FALSE(parse_pid_file(bad)) << bad;
}

TEST(Config, TheRootIsRead) {
  EXPECT_EQ(configured_root("# c\nroot = \"/data/atoll\"\nport = 7700\n"), "/data/atoll");
  EXPECT_EQ(configured_root("port = 1\nroot=\"/x\""), "/x");
  for (const char* bad : {"", "root = 7", "root = \"rel\"", "myroot = \"/x\"", "root = \"\""})
    EXPECT_FALSE(configured_root(bad)) << bad;
}

json::value log_reply(std::vector<std::pair<std::string, std::string>> lines) {
  json::array logs;
  for (const auto& [time, message] : lines) {
    json::object entry;
    entry["timestamp"] = time;
    entry["message"] = message;
    entry["level"] = "info";
    logs.emplace_back(std::move(entry));
  }
  json::object out;
  out["logs"] = std::move(logs);
  return out;
}

TEST(LogCursor, ShowsEachLineOnceAlsoWithinAMillisecond) {
  LogCursor cursor;
  EXPECT_EQ(cursor.take(log_reply({{"2030-01-01T00:00:00.001Z", "a"}, {"2030-01-01T00:00:00.001Z", "b"}}))->size(), 2u);
  EXPECT_NE(cursor.target("abc").find("cursor=1893456000001"), std::string::npos);
  const auto next = cursor.take(log_reply(
      {{"2030-01-01T00:00:00.001Z", "a"}, {"2030-01-01T00:00:00.001Z", "c"}, {"2030-01-01T00:00:00.002Z", "d"}}));
  ASSERT_EQ(next->size(), 2u);
  EXPECT_EQ(next->at(0).at("message").as_string(), "c");
  EXPECT_EQ(cursor.take(log_reply({{"2030-01-01T00:00:00.002Z", "d"}}))->size(), 0u);
  EXPECT_FALSE(cursor.take(json::value("x")).ok());
}

TEST(LogCursor, APageOfOneMillisecondDoesNotComeForEver) {
  LogCursor cursor;
  const std::vector<std::pair<std::string, std::string>> page(1000, {"2030-01-01T00:00:00.001Z", "same"});
  EXPECT_EQ(cursor.take(log_reply(page))->size(), 1u);
  EXPECT_TRUE(cursor.more());
  EXPECT_EQ(cursor.take(log_reply(page))->size(), 0u);
  EXPECT_NE(cursor.target("abc").find("cursor=1893456000002"), std::string::npos);
}

TEST(LogEntry, IsEscaped) {
  const auto entry = parse_json(R"({"timestamp":"t","level":"warn","message":"a\u001b[2J","fields":{"k\n":"v\u0007"}})");
  EXPECT_EQ(render_log_entry(*entry, false), "t warn  a\\x1b[2J k\\n=v\\x07\n");
}

}  // namespace
}  // namespace atl::cli
