#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace atl::cli {

using Pairs = std::vector<std::pair<std::string, std::string>>;

// What every command understands: where the daemon is and how to prove who asks.
struct GlobalOptions {
  std::string endpoint;      // "" = $ATOLL_ENDPOINT, $E2B_API_URL, <run>/endpoint
  std::string api_key_file;  // "" = $E2B_API_KEY, <root>/credentials.json
  std::string root = "/var/lib/atoll";
  std::string run = "/run/atoll";
};

struct NewSandbox {
  std::string template_name = "base";
  std::string tier;                        // "" = what the template or the node says
  std::optional<std::int64_t> timeout_s;
  Pairs env, metadata;
};

// A command to run inside: either a shell text or literal words.
struct InnerCommand {
  std::vector<std::string> argv;           // after "--", passed on literally
  std::optional<std::string> shell;        // for /bin/bash -l -c
  Pairs env;
  std::string user, cwd;
  bool interactive = false;                // pass standard input although it is a terminal
  bool no_stdin = false;
};

struct RunOptions { NewSandbox sandbox; InnerCommand command; bool keep = false; };
struct ExecOptions {
  std::string id;
  InnerCommand command;
  std::optional<std::int64_t> timeout_s;  // of the command
};
struct ShellOptions { std::string id; std::optional<NewSandbox> fresh; InnerCommand command; bool keep = false; };
struct CreateOptions { NewSandbox sandbox; bool as_json = false; };
struct ListOptions { std::string state; Pairs metadata; bool all = false, as_json = false; };
struct InfoOptions { std::string id; bool as_json = false; };
struct CopyOptions { std::string source, destination, user; };
struct TemplatesOptions { bool as_json = false; };
struct LogsOptions { std::string id; bool follow = false, as_json = false; };
struct KillOptions { std::vector<std::string> ids; bool all = false, as_json = false; };
struct TimeoutOptions { std::string id; std::int64_t seconds = 0; bool as_json = false; };
struct StatusOptions { bool as_json = false; };
struct TiersOptions { bool as_json = false; };
struct EnvOptions { bool as_json = false; };
struct StartOptions { std::vector<std::string> daemon_words; };  // after "--", for atolld
struct StopOptions { bool kill_sandboxes = false; };
struct RestartOptions { std::vector<std::string> daemon_words; };
struct CompletionOptions { std::string shell; };
struct VersionOptions { bool as_json = false; };

using CommandOptions =
    std::variant<RunOptions, ExecOptions, ShellOptions, CreateOptions, ListOptions, InfoOptions, CopyOptions,
                 LogsOptions, KillOptions, TimeoutOptions, StatusOptions, TiersOptions, EnvOptions, StartOptions,
                 StopOptions, RestartOptions, CompletionOptions, VersionOptions, TemplatesOptions>;

struct Invocation {
  GlobalOptions global;
  CommandOptions command;
};

}  // namespace atl::cli
