#include "control/role.h"

#include <sys/stat.h>
#include <sys/wait.h>

#include "control/testing/harness.h"
#include "rpc/http1.h"

namespace atl::control::testing {
namespace {

class ApiProcess : public ::testing::Test {
 protected:
  void SetUp() override {
    config.paths.root = folder.path() + "/root";
    config.paths.run = folder.path() + "/run";
    ASSERT_TRUE(make_dirs(config.paths.root, 0755).ok());
    ASSERT_TRUE(make_dirs(config.paths.api_run_dir(), 0755).ok());
    const auto made = bootstrap_default_project(config);
    ASSERT_TRUE(made.ok()) << made.error().message;
    key = *made;
    child = ::fork();
    if (child == 0) ::_exit(run_api(config));
  }
  void TearDown() override {
    if (child > 0) {
      ::kill(child, SIGKILL);
      ::waitpid(child, nullptr, 0);
    }
  }
  // Asks until the process listens.
  Task<Result<rpc::Reply>> ask(std::string method, std::string target, std::string body) {
    rpc::Http1Target unix_target;
    unix_target.unix_path = config.paths.api_socket();
    const auto client = rpc::http1_client(co_await asio::this_coro::executor, std::move(unix_target), 1, Millis{1000});
    for (int i = 0;; ++i) {
      rpc::RequestHead head;
      head.method = method;
      head.target = target;
      head.authority = "api";
      head.headers.set("x-api-key", key);
      auto reply = co_await rpc::call(*client, std::move(head), body, 1 << 20, Millis{5000});
      if (reply.ok() || i == 400) co_return reply;
      co_await sleep_for(Millis{25});
    }
  }
  Result<rpc::Reply> send(std::string method, std::string target, std::string body = "") {
    asio::io_context loop;
    std::optional<Result<rpc::Reply>> out;
    spawn(loop.get_executor(), "ask", asked(ask(std::move(method), std::move(target), std::move(body)), out));
    loop.run();
    return *out;
  }
  Task<void> asked(Task<Result<rpc::Reply>> question, std::optional<Result<rpc::Reply>>& out) {
    out = co_await std::move(question);
  }

  TempFolder folder;
  Config config;
  std::string key;
  pid_t child = -1;
};

TEST_F(ApiProcess, ListensWithoutANodeAndEndsOnSigterm) {
  const auto list = send("GET", "/v2/sandboxes");
  ASSERT_TRUE(list.ok()) << list.error().message;
  EXPECT_EQ(list->head.status, 200) << list->body;
  EXPECT_EQ(list->body, "[]");
  const auto create = send("POST", "/v2/sandboxes", R"({"templateID":"none"})");
  ASSERT_TRUE(create.ok());
  EXPECT_EQ(create->head.status, 404) << create->body;
  struct stat st {};
  ASSERT_EQ(::stat(config.paths.seed_file().c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0600u);
  EXPECT_EQ(st.st_size, 32);
  ASSERT_EQ(::stat(config.paths.api_socket().c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0666u);
  ::kill(child, SIGTERM);
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  child = -1;
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace atl::control::testing
