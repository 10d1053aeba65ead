#include "cli/args.h"

#include <gtest/gtest.h>

#include "cli/completion.h"

namespace atl::cli {
namespace {

using Words = std::vector<std::string>;

template <class Options>
Options parsed(const Words& args) {
  auto outcome = parse_arguments(args);
  if (const Say* say = std::get_if<Say>(&outcome)) {
    ADD_FAILURE() << say->text;
    return {};
  }
  return std::get<Options>(std::get<Invocation>(outcome).command);
}

Say said(const Words& args) {
  auto outcome = parse_arguments(args);
  if (const Say* say = std::get_if<Say>(&outcome)) return *say;
  ADD_FAILURE() << "it was understood";
  return {};
}

TEST(Args, EverythingAfterTheDashesIsLiteral) {
  const Words hostile = {"--help", "-e", "A=B", "--", "", "a b", "--json", "-x", "*", "run", "--root", "/x"};
  Words args = {"run", "--"};
  args.insert(args.end(), hostile.begin(), hostile.end());
  EXPECT_EQ(parsed<RunOptions>(args).command.argv, hostile);
  args = {"exec", "abc", "--"};
  args.insert(args.end(), hostile.begin(), hostile.end());
  EXPECT_EQ(parsed<ExecOptions>(args).command.argv, hostile);
  args = {"shell", "abc", "--"};
  args.insert(args.end(), hostile.begin(), hostile.end());
  EXPECT_EQ(parsed<ShellOptions>(args).command.argv, hostile);
  EXPECT_EQ(parsed<StartOptions>({"start", "--", "--port", "0"}).daemon_words, (Words{"--port", "0"}));
}

TEST(Args, OneWordIsNotSplit) {
  EXPECT_EQ(parsed<RunOptions>({"run", "--", "echo hi"}).command.argv, Words{"echo hi"});
  const auto run = parsed<RunOptions>({"run", "-c", "echo $X | cat"});
  EXPECT_EQ(run.command.shell, "echo $X | cat");
  EXPECT_TRUE(run.command.argv.empty());
}

TEST(Args, RunOptionsAreRead) {
  const auto run = parsed<RunOptions>({"run", "-t", "mine", "--tier", "gvisor", "--timeout", "5m", "-e", "A=1", "-e",
                                       "B=x=y", "-m", "k=v", "-u", "root", "--cwd", "/tmp", "--keep", "-n", "--", "id"});
  EXPECT_EQ(run.sandbox.template_name, "mine");
  EXPECT_EQ(run.sandbox.tier, "gvisor");
  EXPECT_EQ(run.sandbox.timeout_s, 300);
  EXPECT_EQ(run.command.env, (Pairs{{"A", "1"}, {"B", "x=y"}}));
  EXPECT_EQ(run.sandbox.metadata, (Pairs{{"k", "v"}}));
  EXPECT_TRUE(run.sandbox.env.empty());
  EXPECT_EQ(run.command.user, "root");
  EXPECT_EQ(run.command.cwd, "/tmp");
  EXPECT_TRUE(run.keep);
  EXPECT_TRUE(run.command.no_stdin);
  EXPECT_FALSE(parsed<RunOptions>({"run", "--", "id"}).sandbox.timeout_s);
}

TEST(Args, AnOptionTakesOneValue) {
  const auto kill = parsed<KillOptions>({"kill", "a", "b"});
  EXPECT_EQ(kill.ids, (Words{"a", "b"}));
  const auto list = parsed<ListOptions>({"ls", "-m", "a=1", "--json", "--all"});
  EXPECT_EQ(list.metadata, (Pairs{{"a", "1"}}));
  EXPECT_TRUE(list.as_json && list.all);
}

TEST(Args, GlobalOptionsStandAnywhereBeforeTheDashes) {
  for (const Words& args : {Words{"--root", "/r", "--run", "/q", "run", "--", "id"},
                            Words{"run", "--root=/r", "--run", "/q", "--", "id"}}) {
    auto outcome = parse_arguments(args);
    ASSERT_TRUE(std::holds_alternative<Invocation>(outcome));
    EXPECT_EQ(std::get<Invocation>(outcome).global.root, "/r");
    EXPECT_EQ(std::get<Invocation>(outcome).global.run, "/q");
    EXPECT_EQ(std::get<RunOptions>(std::get<Invocation>(outcome).command).command.argv, Words{"id"});
  }
}

TEST(Args, MistakesAreUsageErrorsThatSayWhatToDo) {
  const std::vector<std::pair<Words, std::string>> cases = {
      {{"run"}, "--shell"},
      {{"run", "echo", "hi"}, "atoll run -- "},
      {{"exec", "abc", "ls"}, "atoll exec ID -- "},
      {{"run", "-c", "x", "--", "y"}, "not both"},
      {{"run", "-i", "-n", "--", "y"}, "excludes"},
      {{"run", "-e", "novalue", "--", "y"}, "NAME=VALUE"},
      {{"run", "--timeout", "5x", "--", "y"}, "not a duration"},
      {{"kill"}, "--all"},
      {{"kill", "--all", "abc"}, "--all"},
      {{"shell"}, "--new"},
      {{"shell", "--new", "abc"}, "--new"},
      {{"timeout", "abc"}, "DURATION"},
      {{"timeout", "abc", "0"}, "atoll kill abc"},
      {{"run", "--timeout", "0", "--", "x"}, "a second or more"},
      {{"info", "abc", "one", "two", "three"}, "one two three"},
      {{"template"}, "subcommand"},
      {{"info", "../x"}, "not a sandbox's id"},
      {{"info", "A"}, "not a sandbox's id"},
      {{"ls", "--state", "dead"}, "running"},
      {{"completion", "tcsh"}, "bash"},
      {{"nonsense"}, "nonsense"},
      {{"help", "nonsense"}, "nonsense"},
      {{}, "Subcommands"}};
  for (const auto& [args, text] : cases) {
    const Say say = said(args);
    EXPECT_EQ(say.exit_code, 2) << say.text;
    EXPECT_NE(say.text.find(text), std::string::npos) << say.text;
  }
}

TEST(Args, HelpListsTheExitCodes) {
  for (const Words& args : {Words{"--help"}, Words{"help"}}) {
    const Say say = said(args);
    EXPECT_EQ(say.exit_code, 0);
    EXPECT_NE(say.text.find("Exit codes:"), std::string::npos);
    EXPECT_NE(say.text.find("completion"), std::string::npos);
  }
  EXPECT_NE(said({"help", "run"}).text.find("--keep"), std::string::npos);
  EXPECT_NE(said({"run", "--help"}).text.find("--keep"), std::string::npos);
}

TEST(Args, UsageLinesBeginWithTheProgram) {
  const std::vector<std::pair<Words, std::string>> cases = {
      {{"run", "--help"}, "Usage: atoll run [OPTIONS] -- COMMAND [ARGUMENT...]\n"},
      {{"help", "exec"}, "Usage: atoll exec [OPTIONS] ID -- COMMAND [ARGUMENT...]\n"},
      {{"shell", "--help"}, "Usage: atoll shell [OPTIONS] [ID] [-- COMMAND [ARGUMENT...]]\n"},
      {{"ls", "--help"}, "Usage: atoll ls [OPTIONS]\n"},
      {{"template", "list", "--help"}, "Usage: atoll template list [OPTIONS]\n"},
      {{"--help"}, "Usage: atoll [OPTIONS] [SUBCOMMAND]\n"}};
  for (const auto& [args, text] : cases) EXPECT_NE(said(args).text.find(text), std::string::npos) << said(args).text;
}

TEST(Args, OnlyWhatHasExitCodesOfItsOwnExplainsThem) {
  for (const char* name : {"run", "exec", "shell"})
    EXPECT_NE(said({name, "--help"}).text.find("125  Atoll failed"), std::string::npos) << name;
  for (const char* name : {"ls", "info", "create", "tiers", "stop"})
    EXPECT_EQ(said({name, "--help"}).text.find("Exit codes"), std::string::npos) << name;
}

TEST(Args, TemplatesHaveTwoSpellings) {
  EXPECT_TRUE(parsed<TemplatesOptions>({"templates", "--json"}).as_json);
  EXPECT_TRUE(parsed<TemplatesOptions>({"template", "list", "--json"}).as_json);
  EXPECT_FALSE(parsed<TemplatesOptions>({"template", "list"}).as_json);
}

TEST(Args, ExecHasATimeoutOfItsOwn) {
  EXPECT_EQ(parsed<ExecOptions>({"exec", "abc", "--timeout", "5m", "--", "x"}).timeout_s, 300);
  EXPECT_FALSE(parsed<ExecOptions>({"exec", "abc", "--", "x"}).timeout_s);
}

TEST(Args, DashesEndOptionsForOtherCommands) {
  const auto copy = parsed<CopyOptions>({"cp", "--", "-odd", "abc:x"});
  EXPECT_EQ(copy.source, "-odd");
  EXPECT_EQ(copy.destination, "abc:x");
}

TEST(Completion, KnowsEveryCommandInEveryShell) {
  const auto words = command_words();
  EXPECT_GE(words.size(), 18u);
  for (const char* shell : {"bash", "zsh", "fish"}) {
    const std::string script = completion_script(shell, words);
    for (const CommandWords& command : words) EXPECT_NE(script.find(command.name), std::string::npos) << shell;
  }
}

}  // namespace
}  // namespace atl::cli
