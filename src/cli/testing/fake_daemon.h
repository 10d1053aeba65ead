#pragma once
#include <gtest/gtest.h>

#include <boost/asio/steady_timer.hpp>
#include <map>
#include <set>

#include "base/json.h"
#include "cli/args.h"
#include "cli/commands.h"
#include "cli/exits.h"
#include "cli/testing/fake_console.h"
#include "proto/filesystem.pb.h"
#include "proto/process.pb.h"
#include "rpc/connect.h"
#include "rpc/http1.h"
#include "rpc/url.h"

namespace atl::cli::testing {

inline constexpr const char* kKey = "e2b_0123";
inline constexpr const char* kToken = "token-of-the-sandbox";

// A daemon as far as the command line can see: REST for control, Connect for one sandbox's agent,
// on a loopback port. Tests set what it does and read what it was asked.
struct FakeDaemon {
  asio::io_context loop{1};
  std::unique_ptr<rpc::Http1Server> server;
  std::uint16_t port = 0;

  std::set<std::string> sandboxes;
  json::object last_create;
  std::vector<std::string> killed, requests;
  process::StartRequest started;
  std::string start_user, start_timeout, stdin_bytes;
  std::string refusal;                      // not empty: the end frame that answers a Start
  std::map<std::string, std::string> rest;  // answers to GET, by path
  bool stdin_closed = false;
  std::vector<int> signals;
  bool refuses_signals = false;
  std::map<std::string, std::string> files;
  filesystem::ListDirResponse listing;
  // Writes the events of a process; the default says "out", "err" and exit code 7.
  std::function<Task<void>(FakeDaemon&, rpc::Exchange&)> script;
  asio::steady_timer changed{loop, asio::steady_timer::time_point::max()};  // cancelled at each request

  FakeDaemon() {
    server = std::make_unique<rpc::Http1Server>(loop.get_executor(), rpc::Http1Limits{},
                                                [this](rpc::Exchange& exchange) { return serve(*this, exchange); });
    const auto bound = server->listen_tcp("127.0.0.1", 0);
    if (bound.ok()) port = *bound;
  }

  // Runs one command against it, as the program would.
  int run(std::vector<std::string> args, FakeConsole& console, Interrupts* interrupts = nullptr) {
    auto parsed = parse_words(args);
    if (const Say* say = std::get_if<Say>(&parsed)) {
      console.err += say->text;
      return say->exit_code;
    }
    auto& invocation = std::get<Invocation>(parsed);
    invocation.global.endpoint = "127.0.0.1:" + std::to_string(port);
    std::unique_ptr<Interrupts> own;
    if (!interrupts) {
      own = std::make_unique<Interrupts>(loop.get_executor());
      interrupts = own.get();
    }
    const auto environment = [](const char* name) {
      return std::string(name) == "E2B_API_KEY" ? std::optional<std::string>(kKey) : std::nullopt;
    };
    Context context{loop.get_executor(), console, *interrupts, clock, invocation.global, environment};
    int exit_code = -1;
    spawn(loop.get_executor(), "command", run_and_stop(context, std::move(invocation), loop, exit_code));
    loop.restart();
    loop.run();
    return exit_code;
  }

  static Task<void> events(rpc::Exchange& exchange, process::StartResponse response) {
    const std::string bytes = rpc::envelope(0, response.SerializeAsString());
    [[maybe_unused]] const Status sent = co_await exchange.write(bytes);
  }
  static process::StartResponse output(std::string out, std::string err) {
    process::StartResponse response;
    if (!out.empty()) response.mutable_event()->mutable_data()->set_stdout(out);
    else response.mutable_event()->mutable_data()->set_stderr(err);
    return response;
  }
  static process::StartResponse ended(int code, bool exited, std::string status) {
    process::StartResponse response;
    auto& end = *response.mutable_event()->mutable_end();
    end.set_exit_code(code);
    end.set_exited(exited);
    end.set_status(status);
    return response;
  }

 private:
  static std::variant<Invocation, Say> parse_words(const std::vector<std::string>& args);
  static Task<void> run_and_stop(Context& context, Invocation invocation, asio::io_context& loop, int& exit_code) {
    exit_code = co_await dispatch(context, std::move(invocation));
    loop.stop();
  }
  static Task<void> serve(FakeDaemon& daemon, rpc::Exchange& exchange);
  static Task<void> serve_rest(FakeDaemon& daemon, rpc::Exchange& exchange, std::string path, std::string body);
  static Task<void> serve_start(FakeDaemon& daemon, rpc::Exchange& exchange, std::string body);
  static Task<void> serve_agent(FakeDaemon& daemon, rpc::Exchange& exchange, std::string path, std::string body);
  static Task<void> answer(rpc::Exchange& exchange, int status, std::string body) {
    rpc::ReplyHead head;
    head.status = status;
    [[maybe_unused]] const Status sent = co_await exchange.reply(std::move(head), std::move(body));
  }

  SystemClock clock;
};

}  // namespace atl::cli::testing
