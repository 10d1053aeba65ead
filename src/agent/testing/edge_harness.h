#pragma once
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/read.hpp>
#include <iostream>
#include <optional>
#include <stdexcept>
#include <string>

#include "agent/codec.h"
#include "base/crypto.h"
#include "base/fs.h"
#include "base/json.h"
#include "base/task.h"
#include "base/unique_fd.h"
#include "proto/process.pb.h"
#include "rpc/connect.h"
#include "rpc/http2.h"

namespace atl::agent::testing {

using SteadyClock = std::chrono::steady_clock;

// Runs coroutines to their end from a test's own, sequential code.
class Loop {
 public:
  asio::io_context& io() { return io_; }

  template <class T>
  T await(Task<T> task, std::chrono::seconds limit = std::chrono::seconds(30)) {
    // Shared, since the loop may be left before the coroutine's last handler ran.
    auto state = std::make_shared<State<T>>();
    asio::co_spawn(io_, store(std::move(task), state), [state](std::exception_ptr e) { state->thrown = e; });
    const auto until = SteadyClock::now() + limit;
    while (!state->value && !state->thrown && SteadyClock::now() < until) {
      io_.run_one_for(std::chrono::milliseconds(100));
      io_.restart();
    }
    if (state->thrown) std::rethrow_exception(state->thrown);
    if (!state->value)
      throw std::runtime_error("a step of the test took longer than " + std::to_string(limit.count()) + " s");
    return std::move(*state->value);
  }

 private:
  template <class T>
  struct State {
    std::optional<T> value;
    std::exception_ptr thrown;
  };
  template <class T>
  static Task<void> store(Task<T> task, std::shared_ptr<State<T>> state) {
    T value = co_await std::move(task);
    state->value.emplace(std::move(value));
  }
  asio::io_context io_{1};
};

// A stream of process events (Start, Connect), read one by one.
class Events {
 public:
  Events(Loop& loop, std::unique_ptr<rpc::ClientExchange> exchange, Codec codec)
      : loop_(loop), exchange_(std::move(exchange)), codec_(codec), reader_(*exchange_, 32u << 20) {}

  // nullopt: the end frame came (see error()) or the stream broke (see broken()).
  std::optional<std::string> next_payload() {
    auto read = loop_.await(reader_.next());
    if (!read.ok() || !read->has_value()) {
      broken_ = true;
      return std::nullopt;
    }
    if (((*read)->flags & rpc::kEnvelopeEnd) == 0) return std::move((*read)->payload);
    end_frame_ = (*read)->payload;
    return std::nullopt;
  }
  std::optional<::process::ProcessEvent> next() {
    const auto payload = next_payload();
    if (!payload) return std::nullopt;
    ::process::StartResponse message;
    EXPECT_TRUE(parse_message(*payload, codec_, message).ok());
    return message.event();
  }
  // Everything up to the end frame.
  void drain() {
    while (auto event = next()) take(*event);
  }
  void take(const ::process::ProcessEvent& event) {
    if (event.has_start()) pid = event.start().pid();
    if (event.has_data())
      out += event.data().stdout(), err += event.data().stderr(), pty += event.data().pty();
    if (event.has_end()) end = event.end();
    if (event.has_keepalive()) ++keepalives;
  }
  // Reads until the given text is in the output.
  bool read_until(std::string_view text) {
    while (out.find(text) == out.npos && pty.find(text) == pty.npos) {
      auto event = next();
      if (!event) return false;
      take(*event);
    }
    return true;
  }
  // "" = ended well, else the code of the end frame.
  std::string error() const {
    const auto value = parse_json(end_frame_);
    if (!value.ok() || !value->is_object()) return "no end frame";
    const auto* error = value->as_object().if_contains("error");
    return error ? std::string(error->as_object().at("code").as_string()) : "";
  }
  const std::string& end_frame() const { return end_frame_; }
  bool broken() const { return broken_; }
  void cancel() { exchange_.reset(); }
  rpc::ClientExchange& exchange() { return *exchange_; }

  std::uint32_t pid = 0;
  std::string out, err, pty;
  std::optional<::process::ProcessEvent::EndEvent> end;
  int keepalives = 0;

 private:
  Loop& loop_;
  std::unique_ptr<rpc::ClientExchange> exchange_;
  Codec codec_;
  rpc::EnvelopeReader reader_;
  std::string end_frame_;
  bool broken_ = false;
};

struct UnaryReply {
  int status = 0;
  std::string body;
  std::string code;  // Connect's name, "" where it went well
};

// Starts the real agent as a child and plays the edge: listens, checks the preface, speaks HTTP/2.
class Edge {
 public:
  static constexpr std::string_view kAccessToken = "0123456789abcdef";

  // With `root` the agent is started in that folder by chroot, and the channel lies in it.
  // With `process_1` it is that of its own pid, network and host name namespaces.
  explicit Edge(std::string more_config = "", std::string root = "", bool process_1 = false)
      : root_(std::move(root)), process_1_(process_1) {
    ::signal(SIGPIPE, SIG_IGN);  // an agent that does not start is a failure to report
    char folder[] = "/tmp/atoll-agent-test-XXXXXX";
    folder_ = ::mkdtemp(folder);
    boot_token_ = random_hex(32);
    socket_path_ = (root_.empty() ? folder_ : root_) + "/channel.sock";
    acceptor_.emplace(loop_.io(), asio::local::stream_protocol::endpoint(socket_path_));
    start_agent(std::move(more_config));
    try {
      accept();
    } catch (...) {
      clean_up();
      throw;
    }
  }
  ~Edge() { clean_up(); }

  // The next connection of the agent; its preface must be right.
  void accept() {
    auto socket = loop_.await(accept_one());
    client_ = rpc::http2_client(std::move(socket), rpc::Http2Limits{}, [] {});
  }
  void drop_connection() {
    client_->close();
    client_.reset();
  }

  rpc::RequestHead head(std::string method, std::string target) {
    rpc::RequestHead head;
    head.method = std::move(method);
    head.target = std::move(target);
    head.authority = "sandbox";
    if (send_token) head.headers.add("x-access-token", kAccessToken);
    for (const auto& [name, value] : extra_headers) head.headers.add(name, value);
    return head;
  }
  UnaryReply request(std::string method, std::string target, std::string body = "", std::string type = "") {
    rpc::RequestHead h = head(std::move(method), std::move(target));
    if (!type.empty()) h.headers.add("content-type", type);
    if (!body.empty()) h.content_length = body.size();
    auto reply = loop_.await(rpc::call(*client_, std::move(h), std::move(body), 16u << 20, Millis(30'000)));
    if (!reply.ok()) return {0, reply.error().message, "broken"};
    UnaryReply out{reply->head.status, reply->body, ""};
    const auto value = parse_json(out.body);
    if (out.status != 200 && value.ok() && value->is_object())
      if (const auto* code = value->as_object().if_contains("code"); code && code->is_string())
        out.code = std::string(code->as_string());
    return out;
  }
  template <class Request, class Response>
  UnaryReply unary(const char* method, const Request& message, Response& into) {
    auto reply = request("POST", std::string("/process.Process/") + method, serialise_message(message, codec),
                         codec == Codec::json ? "application/json" : "application/proto");
    if (reply.status == 200) EXPECT_TRUE(parse_message(reply.body, codec, into).ok()) << reply.body;
    return reply;
  }

  std::unique_ptr<rpc::ClientExchange> open_stream(const char* method) {
    rpc::RequestHead h = head("POST", std::string("/process.Process/") + method);
    h.headers.add("content-type",
                  codec == Codec::json ? "application/connect+json" : "application/connect+proto");
    h.headers.add("connect-protocol-version", "1");
    auto opened = loop_.await(client_->open(std::move(h), true));
    EXPECT_TRUE(opened.ok());
    return std::move(*opened);
  }
  void send_frame(rpc::ClientExchange& exchange, const google::protobuf::Message& message) {
    const std::string frame = rpc::envelope(0, serialise_message(message, codec));
    EXPECT_TRUE(loop_.await(exchange.write(frame)).ok());
  }
  template <class Request>
  Events stream(const char* method, const Request& message) {
    auto exchange = open_stream(method);
    send_frame(*exchange, message);
    EXPECT_TRUE(loop_.await(exchange->finish_body()).ok());
    auto reply = loop_.await(exchange->head());
    EXPECT_TRUE(reply.ok() && reply->status == 200);
    return Events(loop_, std::move(exchange), codec);
  }
  // A shell command as the clients start it; the start event has been read.
  Events shell(const std::string& script, bool with_stdin = false) {
    ::process::StartRequest request;
    request.mutable_process()->set_cmd("/bin/sh");
    request.mutable_process()->add_args("-c");
    request.mutable_process()->add_args(script);
    request.set_stdin(with_stdin);
    return started(request);
  }
  Events started(const ::process::StartRequest& request) {
    Events events = stream("Start", request);
    if (auto first = events.next()) {
      EXPECT_TRUE(first->has_start()) << "the first event must be start";
      events.take(*first);
    }
    return events;
  }

  Loop& loop() { return loop_; }
  rpc::Http2Client& client() { return *client_; }
  pid_t agent() const { return agent_; }
  const std::string& folder() const { return folder_; }

  Codec codec = Codec::json;
  bool send_token = true;
  std::vector<std::pair<std::string, std::string>> extra_headers;

 private:
  void clean_up() {
    client_.reset();
    if (agent_ > 0) {
      ::kill(agent_, SIGKILL);
      ::waitpid(agent_, nullptr, 0);
    }
    if (::testing::Test::HasFailure()) {
      const auto log = read_file(folder_ + "/boot.log", 1u << 20);
      std::cout << "the agent's log:\n" << (log.ok() ? *log : log.error().message) << "\n";
    }
    acceptor_.reset();
    ::unlink(socket_path_.c_str());
    (void)remove_tree(folder_);
  }

  Task<rpc::Socket> accept_one() {
    auto socket = co_await acceptor_->async_accept(asio::use_awaitable);
    std::string preface(64, '\0');
    co_await asio::async_read(socket, asio::buffer(preface), asio::use_awaitable);
    EXPECT_EQ(preface, boot_token_);
    co_return rpc::Socket(std::move(socket));
  }

  static std::string agent_path() {
    if (const char* path = std::getenv("ATOLL_AGENT")) return path;
    char self[4096] = {};
    EXPECT_GT(::readlink("/proc/self/exe", self, sizeof self - 1), 0);
    const std::string path = self;
    return path.substr(0, path.rfind('/')) + "/atoll-agent";
  }

  void start_agent(std::string more) {
    const std::string channel = root_.empty() ? socket_path_ : "/channel.sock";
    const std::string config =
        R"({"bootToken":")" + boot_token_ + R"(","accessToken":")" + std::string(kAccessToken) +
        R"(","sandboxId":"itest","templateId":"base","channel":")" + channel +
        R"(","env":{"FROM_CREATE":"yes"},"vcpus":2,"memoryBytes":268435456)" + more + "}";
    const std::string path = agent_path(), log = folder_ + "/boot.log";
    const UniqueFd program(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    const UniqueFd err(::open(log.c_str(), O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0644));
    int in[2];
    if (!program.valid() || ::pipe2(in, O_CLOEXEC) != 0)
      throw std::runtime_error("build atoll-agent first: " + path);
    const unsigned long namespaces =
        process_1_ ? CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWNS : 0;
    agent_ =
        static_cast<pid_t>(::syscall(SYS_clone, namespaces | SIGCHLD, nullptr, nullptr, nullptr, nullptr));
    if (agent_ == 0) {
      ::dup2(in[0], 0);
      ::dup2(err.get(), 2);
      if (!root_.empty() && (::chroot(root_.c_str()) != 0 || ::chdir("/") != 0)) ::_exit(99);
      char name[] = "atoll-agent";
      char* const argv[] = {name, nullptr};
      char* const envp[] = {nullptr};
      if (root_.empty())
        ::execve(path.c_str(), argv, envp);
      else
        ::fexecve(program.get(), argv, envp);
      ::_exit(98);
    }
    ::close(in[0]);
    EXPECT_EQ(::write(in[1], config.data(), config.size()), static_cast<ssize_t>(config.size()));
    ::close(in[1]);
  }

  Loop loop_;
  std::string root_, folder_, socket_path_, boot_token_;
  bool process_1_;
  std::optional<asio::local::stream_protocol::acceptor> acceptor_;
  std::shared_ptr<rpc::Http2Client> client_;
  pid_t agent_ = -1;
};

}  // namespace atl::agent::testing
