#include "cli/exits.h"

#include <charconv>
#include <csignal>
#include <utility>

namespace atl::cli {

int exit_code_for(const Error& error) {
  switch (error.code) {
    case Errc::not_found: return kExitNotFound;
    case Errc::unauthenticated:
    case Errc::denied: return kExitAuth;
    case Errc::unavailable: return kExitUnreachable;
    default: return kExitOther;
  }
}

int exit_code_of_start(const Error& error) {
  const std::string_view text = error.message;
  // The agent's words (agent/process/spawn.cpp, environment.cpp); codes alone do not tell a missing
  // program from a missing sandbox.
  if (text.starts_with("exec '") || text.starts_with("exec: '"))
    return error.code == Errc::not_found ? kExitNoCommand : kExitCannotInvoke;
  if (text.starts_with("cwd '") || text.find("the sandbox has no such user") != std::string_view::npos)
    return kExitCannotInvoke;
  return kExitAtoll;
}

int exit_code_of_process(int exit_code, bool exited, std::string_view status) {
  if (exited) return exit_code & 0xff;
  // The agent words signals as Go's syscall.Signal does.
  static constexpr std::pair<std::string_view, int> kNames[] = {
      {"hangup", SIGHUP},           {"interrupt", SIGINT},
      {"quit", SIGQUIT},            {"illegal instruction", SIGILL},
      {"trace/breakpoint trap", SIGTRAP}, {"aborted", SIGABRT},
      {"bus error", SIGBUS},        {"floating point exception", SIGFPE},
      {"killed", SIGKILL},          {"user defined signal 1", SIGUSR1},
      {"segmentation fault", SIGSEGV}, {"user defined signal 2", SIGUSR2},
      {"broken pipe", SIGPIPE},     {"alarm clock", SIGALRM},
      {"terminated", SIGTERM},      {"bad system call", SIGSYS},
      {"CPU time limit exceeded", SIGXCPU}, {"file size limit exceeded", SIGXFSZ}};
  for (const auto& [name, number] : kNames)
    if (status.find(name) != std::string_view::npos) return 128 + number;
  constexpr std::string_view kNumbered = "signal: signal ";
  int number = 0;
  if (status.starts_with(kNumbered))
    std::from_chars(status.data() + kNumbered.size(), status.data() + status.size(), number);
  return number > 0 && number <= 64 ? 128 + number : 255;
}

}  // namespace atl::cli
