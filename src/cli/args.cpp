// The only file that includes CLI11: it takes ten seconds to compile.
#include "cli/args.h"

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>

#include "base/fs.h"
#include "cli/backend.h"
#include "cli/daemon.h"
#include "cli/duration.h"
#include "cli/exits.h"
#include "cli/help_text.h"
#include "cli/version.h"

namespace atl::cli {
namespace {

// CLI11's own knows nothing of what follows "--".
class UsageFormatter : public CLI::Formatter {
 public:
  std::string make_usage(const CLI::App* app, std::string name) const override {
    std::string line = Formatter::make_usage(app, std::move(name));
    while (line.ends_with('\n')) line.pop_back();
    return line + std::string(usage_tail(app->get_name())) + "\n";
  }
};

Pairs parse_pairs(const std::vector<std::string>& words, const char* option) {
  Pairs pairs;
  for (const std::string& word : words) {
    const auto equals = word.find('=');
    if (equals == std::string::npos || equals == 0)
      throw CLI::ValidationError(option, "\"" + word + "\" is not NAME=VALUE");
    pairs.emplace_back(word.substr(0, equals), word.substr(equals + 1));
  }
  return pairs;
}

std::int64_t duration_or_throw(const std::string& text, const char* option) {
  auto seconds = parse_duration(text);
  if (!seconds.ok()) throw CLI::ValidationError(option, seconds.error().message);
  return *seconds;
}

std::string id_problem(const std::string& id) {
  const Status fine = check_id(id);
  return fine.ok() ? "" : fine.error().message;
}

// One parse: CLI11 writes into `box`, `finish` of the command chosen turns it into options.
struct Box {
  NewSandbox sandbox;
  InnerCommand inner;
  std::string id, timeout, shell_text, state, source, destination, user, text;
  std::vector<std::string> env, metadata, ids;
  bool keep = false, as_json = false, all = false, follow = false, fresh = false, kill_sandboxes = false;
};

class Parser {
 public:
  explicit Parser(std::vector<std::string> tail) : tail_(std::move(tail)) {
    app_.require_subcommand(0, 1);
    app_.formatter(std::make_shared<UsageFormatter>());
    app_.add_option("--endpoint", global_.endpoint, "Where the daemon is: http://HOST:PORT or HOST:PORT");
    app_.add_option("--api-key-file", global_.api_key_file, "File with the API key, or credentials.json");
    if (const auto config = read_file(kConfigFile, 64 * 1024); config.ok())
      global_.root = configured_root(*config).value_or(global_.root);
    app_.add_option("--root", global_.root, "The daemon's data")->capture_default_str();
    app_.add_option("--run", global_.run, "The daemon's sockets and pid files")->capture_default_str();
    app_.set_version_flag("-V,--version", std::string("atoll ") + kVersion);
    declare_sandbox_commands();
    declare_inner_commands();
    declare_daemon_commands();
    declare_words();
    app_.footer(kFooter);  // last, because commands declared later would have it too
  }

  std::variant<Invocation, Say> parse(std::vector<std::string> args);
  const CLI::App& app() const { return app_; }
  std::string help() const { return app_.help(); }  // of the command that was given, where one was

 private:
  using Finish = std::function<CommandOptions()>;

  CLI::App* command(const char* name, const char* what, Finish finish) {
    CLI::App* sub = app_.add_subcommand(name, what)->fallthrough();
    finishes_.emplace_back(sub, std::move(finish));
    return sub;
  }
  CLI::Option* each(CLI::App* sub, const char* names, std::vector<std::string>& into, const char* what) {
    return sub->add_option(names, into, what)->allow_extra_args(false);
  }
  void add_id(CLI::App* sub) { sub->add_option("ID", box_.id, "The sandbox")->required()->check(id_problem); }
  void add_json(CLI::App* sub) { sub->add_flag("--json", box_.as_json, "JSON on standard output"); }
  void add_new_sandbox(CLI::App* sub);
  void add_inner(CLI::App* sub);
  NewSandbox sandbox() const;
  std::optional<std::int64_t> timeout() const;
  InnerCommand inner(bool needs_command) const;
  Say usage(const CLI::Error& error) const;

  void declare_sandbox_commands();
  void declare_inner_commands();
  void declare_daemon_commands();
  void declare_words();

  CLI::App app_{"Sandboxes on this machine", "atoll"};
  GlobalOptions global_;
  Box box_;
  std::vector<std::string> tail_;
  std::vector<std::pair<CLI::App*, Finish>> finishes_;
  CLI::App* help_ = nullptr;
};

void Parser::add_new_sandbox(CLI::App* sub) {
  sub->add_option("-t,--template", box_.sandbox.template_name, "What it starts from")->capture_default_str();
  sub->add_option("--tier", box_.sandbox.tier, "container, gvisor, microvm or auto");
  sub->add_option("--timeout", box_.timeout, "How long it lives (90, 5m, 2h)");
  each(sub, "-m,--metadata", box_.metadata, "NAME=VALUE kept with it; may be repeated");
}

void Parser::add_inner(CLI::App* sub) {
  each(sub, "-e,--env", box_.env, "NAME=VALUE for the command; may be repeated");
  sub->add_option("-u,--user", box_.inner.user, "The user inside; default: the template's");
  sub->add_option("--cwd", box_.inner.cwd, "The working folder inside");
}

std::optional<std::int64_t> Parser::timeout() const {
  if (box_.timeout.empty()) return std::nullopt;
  const std::int64_t seconds = duration_or_throw(box_.timeout, "--timeout");
  if (seconds <= 0) throw CLI::ValidationError("--timeout", "it must be a second or more");
  return seconds;
}

NewSandbox Parser::sandbox() const {
  NewSandbox fresh = box_.sandbox;
  fresh.timeout_s = timeout();
  fresh.metadata = parse_pairs(box_.metadata, "--metadata");
  return fresh;
}

InnerCommand Parser::inner(bool needs_command) const {
  InnerCommand command = box_.inner;
  command.argv = tail_;
  command.env = parse_pairs(box_.env, "--env");
  if (!box_.shell_text.empty()) command.shell = box_.shell_text;
  if (command.shell && !command.argv.empty())
    throw CLI::ValidationError("--shell", "give either --shell 'text' or -- COMMAND, not both");
  if (needs_command && !command.shell && command.argv.empty())
    throw CLI::RequiredError("a command: -- COMMAND [ARGUMENT...] or --shell 'text'");
  if (command.interactive && command.no_stdin)
    throw CLI::ValidationError("--interactive", "it excludes --no-stdin");
  return command;
}

void Parser::declare_sandbox_commands() {
  auto* create = command("create", "Start a sandbox and print its id", [this] {
    CreateOptions options{sandbox(), box_.as_json};
    options.sandbox.env = parse_pairs(box_.env, "--env");
    return CommandOptions(options);
  });
  add_new_sandbox(create);
  each(create, "-e,--env", box_.env, "NAME=VALUE for all commands in it; may be repeated");
  add_json(create);

  auto* list = command("ls", "List sandboxes", [this] {
    return CommandOptions(ListOptions{box_.state, parse_pairs(box_.metadata, "--metadata"), box_.all, box_.as_json});
  });
  list->add_option("--state", box_.state, "running, paused or both with a comma")
      ->check([](const std::string& text) -> std::string {
        for (const char* known : {"running", "paused", "running,paused", "paused,running"})
          if (text == known) return {};
        return "\"" + text + "\" is not running, paused or running,paused";
      });
  each(list, "-m,--metadata", box_.metadata, "Only those with NAME=VALUE; may be repeated");
  list->add_flag("--all", box_.all, "All pages, not only the newest 100");
  add_json(list);

  auto* info = command("info", "Show one sandbox, with the isolation that it really has",
                       [this] { return CommandOptions(InfoOptions{box_.id, box_.as_json}); });
  add_id(info);
  add_json(info);

  auto* logs = command("logs", "Show a sandbox's log",
                       [this] { return CommandOptions(LogsOptions{box_.id, box_.follow, box_.as_json}); });
  add_id(logs);
  logs->add_flag("-f,--follow", box_.follow, "Go on until the sandbox ends");
  add_json(logs);

  auto* kill = command("kill", "End sandboxes", [this] {
    if (box_.all == !box_.ids.empty()) throw CLI::RequiredError("either IDs or --all");
    return CommandOptions(KillOptions{box_.ids, box_.all, box_.as_json});
  });
  kill->add_option("ID", box_.ids, "The sandboxes")->check(id_problem);
  kill->add_flag("--all", box_.all, "Every sandbox of the project");
  add_json(kill);

  auto* timeout = command("timeout", "Let a sandbox live so long from now", [this] {
    const std::int64_t seconds = duration_or_throw(box_.timeout, "DURATION");
    if (seconds <= 0)
      throw CLI::ValidationError("DURATION", "0 would end the sandbox at once; if that is meant: atoll kill " + box_.id);
    return CommandOptions(TimeoutOptions{box_.id, seconds, box_.as_json});
  });
  add_id(timeout);
  timeout->add_option("DURATION", box_.timeout, "90, 5m, 2h")->required();
  add_json(timeout);

  auto* copy = command("cp", "Copy files between this machine and a sandbox", [this] {
    return CommandOptions(CopyOptions{box_.source, box_.destination, box_.user});
  });
  copy->add_option("SOURCE", box_.source, "PATH, ID:PATH, or - for standard input")->required();
  copy->add_option("DESTINATION", box_.destination, "PATH, ID:PATH, or - for standard output")->required();
  copy->add_option("-u,--user", box_.user, "The user inside whom the copies belong to, and who reads");
  copy->footer(kCopyFooter);
}

void Parser::declare_inner_commands() {
  const auto streams = [this](CLI::App* sub) {
    sub->add_option("-c,--shell", box_.shell_text, "Run this text with /bin/bash -l -c");
    sub->add_flag("-i,--interactive", box_.inner.interactive, "Pass standard input although it is a terminal");
    sub->add_flag("-n,--no-stdin", box_.inner.no_stdin, "Give the command no standard input");
  };
  auto* run = command("run", "Start a sandbox, run one command in it, end it", [this] {
    return CommandOptions(RunOptions{sandbox(), inner(true), box_.keep});
  });
  add_new_sandbox(run);
  add_inner(run);
  streams(run);
  run->add_flag("--keep", box_.keep, "Leave the sandbox running afterwards and print its id on standard error");
  run->footer(kRunFooter);

  auto* exec = command("exec", "Run a command in a sandbox",
                       [this] { return CommandOptions(ExecOptions{box_.id, inner(true), timeout()}); });
  exec->add_option("--timeout", box_.timeout, "How long the command may run (90, 5m, 2h)");
  exec->footer(kExecFooter);
  add_id(exec);
  add_inner(exec);
  streams(exec);

  auto* shell = command("shell", "A terminal in a sandbox", [this] {
    if (box_.fresh == !box_.id.empty()) throw CLI::RequiredError("either a sandbox's id or --new");
    ShellOptions options{box_.id, std::nullopt, inner(false), box_.keep};
    if (box_.fresh) options.fresh = sandbox();
    return CommandOptions(options);
  });
  shell->footer(kShellFooter);
  shell->add_option("ID", box_.id, "The sandbox")->check(id_problem);
  shell->add_flag("--new", box_.fresh, "Start a sandbox for it, and end it afterwards");
  shell->add_flag("--keep", box_.keep, "With --new: leave the sandbox running");
  add_new_sandbox(shell);
  add_inner(shell);
}

void Parser::declare_daemon_commands() {
  add_json(command("status", "What runs here, and what is wrong",
                   [this] { return CommandOptions(StatusOptions{box_.as_json}); }));
  add_json(command("tiers", "The kinds of isolation, and which work here",
                   [this] { return CommandOptions(TiersOptions{box_.as_json}); }));
  const auto templates = [this] { return CommandOptions(TemplatesOptions{box_.as_json}); };
  add_json(command("templates", "What sandboxes can start from", templates));
  auto* group = command("template", "template list is the same as templates", templates)->require_subcommand(1);
  add_json(group->add_subcommand("list", "What sandboxes can start from")->fallthrough());
  add_json(command("env", "Variables for E2B clients: eval \"$(atoll env)\"",
                   [this] { return CommandOptions(EnvOptions{box_.as_json}); }));
  command("start", "Start the daemon", [this] { return CommandOptions(StartOptions{tail_}); })->footer(kDaemonFooter);
  auto* stop = command("stop", "Stop the daemon; sandboxes go on running",
                       [this] { return CommandOptions(StopOptions{box_.kill_sandboxes}); });
  stop->add_flag("--kill-sandboxes", box_.kill_sandboxes, "End every sandbox of the project first");
  command("restart", "Stop and start the daemon; sandboxes go on running",
          [this] { return CommandOptions(RestartOptions{tail_}); })->footer(kDaemonFooter);
}

void Parser::declare_words() {
  auto* completion = command("completion", "Print a completion script for a shell",
                             [this] { return CommandOptions(CompletionOptions{box_.text}); });
  completion->add_option("SHELL", box_.text, "bash, zsh or fish")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
  add_json(command("version", "Print the version", [this] { return CommandOptions(VersionOptions{box_.as_json}); }));
  help_ = app_.add_subcommand("help", "Explain a command");
  help_->add_option("COMMAND", box_.text, "The command");
}

Say Parser::usage(const CLI::Error& error) const {
  const CLI::App* at = &app_;
  for (const CLI::App* sub : app_.get_subcommands()) at = sub;
  const std::string name = at == &app_ ? "atoll" : "atoll " + at->get_name();
  std::string what = error.what();
  if (dynamic_cast<const CLI::ExtrasError*>(&error)) {  // CLI11's text has them backwards
    what = "not expected here:";
    for (const std::string& word : app_.remaining(true)) what += " " + word;
  }
  std::string text = name + ": " + what + "\n";
  const bool literal = at->get_name() == "run" || at->get_name() == "exec" || at->get_name() == "shell";
  if (dynamic_cast<const CLI::ExtrasError*>(&error) && literal)
    text += "The command to run inside follows --, for example: " + name +
            (at->get_name() == "run" ? " -- " : " ID -- ") + "ls -l\n";
  return Say{text + "Try: " + name + " --help\n", kExitUsage};
}

std::variant<Invocation, Say> Parser::parse(std::vector<std::string> args) {
  std::reverse(args.begin(), args.end());  // CLI11's vector form takes the last word first
  try {
    app_.parse(args);
    if (help_->parsed()) {
      // Not this parser's: it would explain the command "help", which was given.
      if (box_.text.empty()) return Say{Parser({}).help(), kExitOk};
      const auto named = [this](const CLI::App* sub) { return sub->get_name() == box_.text; };
      const auto found = std::as_const(app_).get_subcommands(named);
      if (found.empty()) return Say{"atoll help: there is no command \"" + box_.text + "\"\nTry: atoll help\n", kExitUsage};
      return Say{found[0]->help("atoll"), kExitOk};
    }
    for (const auto& [sub, finish] : finishes_)
      if (sub->parsed()) return Invocation{global_, finish()};
    return Say{app_.help(), kExitUsage};
  } catch (const CLI::CallForHelp&) {
    return Say{help(), kExitOk};
  } catch (const CLI::CallForVersion& version) {
    return Say{std::string(version.what()) + "\n", kExitOk};
  } catch (const CLI::Error& error) {
    return usage(error);
  }
}

// The command's name: the first word that is no global option nor such an option's value. Needed
// before the real parse, which must not see what follows "--".
std::string command_name(const std::vector<std::string>& args) {
  for (std::size_t i = 0; i < args.size(); ++i) {
    const std::string& word = args[i];
    if (word == "--endpoint" || word == "--api-key-file" || word == "--root" || word == "--run") ++i;
    else if (word.empty() || word[0] != '-') return word;
  }
  return "";
}

bool takes_words(const std::string& name) {
  for (const char* known : {"run", "exec", "shell", "start", "restart"})
    if (name == known) return true;
  return false;
}

}  // namespace

std::variant<Invocation, Say> parse_arguments(const std::vector<std::string>& args) {
  const auto dashes = std::find(args.begin(), args.end(), "--");
  std::vector<std::string> own(args.begin(), dashes);
  const std::string name = command_name(own);
  if (dashes == args.end() || !takes_words(name)) {
    Parser parser({});
    return parser.parse(args);
  }
  Parser parser(std::vector<std::string>(dashes + 1, args.end()));
  return parser.parse(std::move(own));
}

std::vector<CommandWords> command_words() {
  Parser parser({});
  std::vector<CommandWords> words;
  for (const CLI::App* sub : parser.app().get_subcommands([](const CLI::App*) { return true; })) {
    CommandWords command{sub->get_name(), sub->get_description(), {}};
    for (const CLI::Option* option : sub->get_options())
      for (const std::string& name : option->get_lnames()) command.options.push_back("--" + name);
    words.push_back(std::move(command));
  }
  return words;
}

}  // namespace atl::cli
