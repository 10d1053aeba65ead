#include "agent/process/exit_status.h"

#include <sys/wait.h>

#include <iterator>

namespace atl::agent {
namespace {

// The names are those that clients know from E2B's own agent, which is written in Go.
std::string signal_text(int number) {
  static constexpr const char* names[] = {"",
                                          "hangup",
                                          "interrupt",
                                          "quit",
                                          "illegal instruction",
                                          "trace/breakpoint trap",
                                          "aborted",
                                          "bus error",
                                          "floating point exception",
                                          "killed",
                                          "user defined signal 1",
                                          "segmentation fault",
                                          "user defined signal 2",
                                          "broken pipe",
                                          "alarm clock",
                                          "terminated"};
  if (number > 0 && number < static_cast<int>(std::size(names))) return names[number];
  return "signal " + std::to_string(number);
}

}  // namespace

ExitReport exit_report(int wait_status) {
  ExitReport report;
  if (WIFEXITED(wait_status)) {
    report.exit_code = WEXITSTATUS(wait_status);
    report.exited = true;
    report.status = "exit status " + std::to_string(report.exit_code);
    if (report.exit_code != 0) report.error = report.status;
    return report;
  }
  report.exit_code = -1;
  report.status = "signal: " + signal_text(WTERMSIG(wait_status));
  if (WCOREDUMP(wait_status)) report.status += " (core dumped)";
  report.error = report.status;
  return report;
}

}  // namespace atl::agent
