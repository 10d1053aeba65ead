#include "cli/completion.h"

#include <fmt/format.h>

#include <algorithm>

#include "cli/text.h"

namespace atl::cli {
namespace {

constexpr std::string_view kTakesId[] = {"exec", "shell", "info", "logs", "kill", "timeout", "cp"};

bool takes_id(const std::string& name) {
  return std::find(std::begin(kTakesId), std::end(kTakesId), name) != std::end(kTakesId);
}

std::string joined(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : " ") + word;
  return out;
}

std::string bash(const std::vector<CommandWords>& commands) {
  std::vector<std::string> names;
  std::string cases;
  for (const CommandWords& command : commands) {
    names.push_back(command.name);
    cases += fmt::format("    {}) words={};;\n", command.name,
                         shell_quote(joined(command.options) + (takes_id(command.name) ? " @ids" : "")));
  }
  return fmt::format(R"~(# bash completion for atoll: eval "$(atoll completion bash)"
_atoll() {{
  local current=${{COMP_WORDS[COMP_CWORD]}} command= words= i
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    [ "${{COMP_WORDS[i]}}" = -- ] && return
    case ${{COMP_WORDS[i]}} in -*) ;; *) command=${{COMP_WORDS[i]}}; break ;; esac
  done
  case $command in
    '') words={};;
    completion) words='bash zsh fish';;
    help) words={};;
{}  esac
  case $words in *@ids*) words="${{words//@ids/}} $(atoll ls 2>/dev/null | awk 'NR > 1 {{print $1}}')";; esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
  [ "$command" = cp ] && COMPREPLY+=($(compgen -f -- "$current"))
}}
complete -F _atoll atoll
)~", shell_quote(joined(names)), shell_quote(joined(names)), cases);
}

std::string zsh(const std::vector<CommandWords>& commands) {
  return "# zsh completion for atoll: eval \"$(atoll completion zsh)\"\n"
         "autoload -U +X bashcompinit && bashcompinit\n" + bash(commands);
}

std::string fish(const std::vector<CommandWords>& commands) {
  std::string out = "# fish completion for atoll: atoll completion fish | source\n"
                    "function __atoll_ids; atoll ls 2>/dev/null | awk 'NR > 1 {print $1}'; end\n"
                    "complete -c atoll -f\n";
  for (const CommandWords& command : commands) {
    out += fmt::format("complete -c atoll -n __fish_use_subcommand -a {} -d {}\n", command.name,
                       shell_quote(command.description));
    const std::string when = shell_quote("__fish_seen_subcommand_from " + command.name);
    for (const std::string& option : command.options)
      out += fmt::format("complete -c atoll -n {} -l {}\n", when, option.substr(2));
    if (takes_id(command.name)) out += fmt::format("complete -c atoll -n {} -a '(__atoll_ids)'\n", when);
    if (command.name == "cp") out += fmt::format("complete -c atoll -n {} -F\n", when);
    if (command.name == "completion") out += fmt::format("complete -c atoll -n {} -a 'bash zsh fish'\n", when);
  }
  return out;
}

}  // namespace

std::string completion_script(const std::string& shell, const std::vector<CommandWords>& commands) {
  if (shell == "fish") return fish(commands);
  return shell == "zsh" ? zsh(commands) : bash(commands);
}

}  // namespace atl::cli
