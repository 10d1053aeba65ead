#pragma once
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>
#include <fstream>
#include <sstream>
#include <string>

#include "agent/context.h"
#include "base/fs.h"
#include "base/testing/needs.h"
#include "rpc/message.h"

namespace atl::agent::testing {

// A folder of its own, removed at the end.
class TempDir {
 public:
  TempDir() {
    char name[] = "/tmp/atoll-files-XXXXXX";
    path_ = ::mkdtemp(name);
    ::chmod(path_.c_str(), 0755);
  }
  ~TempDir() { (void)remove_tree(path_); }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

inline void put(const std::string& path, const std::string& content, mode_t mode = 0644) {
  std::ofstream(path, std::ios::binary) << content;
  ::chmod(path.c_str(), mode);
}

inline std::string get(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

// Gives its text in pieces of at most `piece` bytes, then the end, or `failure` where there is one.
class TextSource : public rpc::ByteSource {
 public:
  explicit TextSource(std::string text, std::size_t piece = 65536) : text_(std::move(text)), piece_(piece) {}
  Task<Result<std::size_t>> read_some(std::span<char> into) override {
    const std::size_t count = std::min({into.size(), piece_, text_.size() - at_});
    if (count == 0 && failure) co_return *failure;
    std::copy_n(text_.data() + at_, count, into.data());
    at_ += count;
    co_return count;
  }
  std::optional<Error> failure;

 private:
  std::string text_;
  std::size_t piece_;
  std::size_t at_ = 0;
};

// A request and what was answered to it.
class FakeExchange : public rpc::Exchange {
 public:
  FakeExchange(std::string method, std::string target, std::string body = "")
      : body_(std::make_unique<TextSource>(std::move(body))) {
    head_.method = std::move(method);
    head_.target = std::move(target);
  }
  FakeExchange& with(std::string_view name, std::string_view value) {
    head_.headers.add(name, value);
    return *this;
  }
  void set_body(std::unique_ptr<rpc::ByteSource> body) { body_ = std::move(body); }

  const rpc::RequestHead& request() const override { return head_; }
  rpc::ByteSource& body() override { return *body_; }
  Task<Status> start(rpc::ReplyHead head) override {
    reply_head = std::move(head);
    started = true;
    co_return ok();
  }
  Task<Status> write(std::string_view bytes) override {
    if (gone_) co_return make_error(Errc::unavailable, "gone");
    reply_body.append(bytes);
    if (on_write) on_write();
    co_return ok();
  }
  Task<Status> finish() override {
    finished = true;
    co_return ok();
  }
  Task<Status> reply(rpc::ReplyHead head, std::string body) override {
    reply_head = std::move(head);
    reply_head.content_length = body.size();
    reply_body = std::move(body);
    started = finished = true;
    co_return ok();
  }
  Task<Result<rpc::ByteStream*>> tunnel(rpc::ReplyHead) override {
    co_return make_error(Errc::unsupported, "no");
  }
  void on_gone(std::function<void()> callback) override { on_gone_ = std::move(callback); }
  bool gone() const override { return gone_; }
  void leave() {
    gone_ = true;
    if (on_gone_) on_gone_();
  }

  int status() const { return reply_head.status; }
  std::string header(std::string_view name) const { return std::string(reply_head.headers.get_or(name, "")); }

  rpc::ReplyHead reply_head;
  std::string reply_body;
  bool started = false, finished = false;
  std::function<void()> on_write;

 private:
  rpc::RequestHead head_;
  std::unique_ptr<rpc::ByteSource> body_;
  std::function<void()> on_gone_;
  bool gone_ = false;
};

// A loop, a pool and a context; root is the default user and the folder its working folder.
class FilesFixture : public ::testing::Test {
 protected:
  FilesFixture() {
    context.boot.default_user = "root";
    context.boot.default_workdir = dir.path();
  }
  ~FilesFixture() override { pool.join(); }

  // Runs the loop until the task is done.
  void run(Task<void> task) {
    auto guard = asio::make_work_guard(loop);
    std::exception_ptr thrown;
    asio::co_spawn(loop, std::move(task), [&](std::exception_ptr failure) {
      thrown = failure;
      guard.reset();
      loop.stop();
    });
    loop.restart();
    loop.run();
    if (thrown) std::rethrow_exception(thrown);
  }

  TempDir dir;
  asio::io_context loop{1};
  asio::thread_pool pool{2};
  FakeClock clock;
  AgentContext context{loop.get_executor(), pool, clock, {}, {}};
};

}  // namespace atl::agent::testing
