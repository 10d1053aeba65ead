#pragma once
#include "cli/context.h"

namespace atl::cli {

// One function a command. The value is the exit code; an Error is printed by dispatch and becomes
// one (exit_code_for).
Task<Result<int>> execute(Context& context, RunOptions options);
Task<Result<int>> execute(Context& context, ExecOptions options);
Task<Result<int>> execute(Context& context, ShellOptions options);
Task<Result<int>> execute(Context& context, CreateOptions options);
Task<Result<int>> execute(Context& context, ListOptions options);
Task<Result<int>> execute(Context& context, InfoOptions options);
Task<Result<int>> execute(Context& context, CopyOptions options);
Task<Result<int>> execute(Context& context, LogsOptions options);
Task<Result<int>> execute(Context& context, KillOptions options);
Task<Result<int>> execute(Context& context, TimeoutOptions options);
Task<Result<int>> execute(Context& context, StatusOptions options);
Task<Result<int>> execute(Context& context, TiersOptions options);
Task<Result<int>> execute(Context& context, TemplatesOptions options);
Task<Result<int>> execute(Context& context, EnvOptions options);
Task<Result<int>> execute(Context& context, StartOptions options);
Task<Result<int>> execute(Context& context, StopOptions options);
Task<Result<int>> execute(Context& context, RestartOptions options);
Task<Result<int>> execute(Context& context, CompletionOptions options);
Task<Result<int>> execute(Context& context, VersionOptions options);

// Runs the command, says on standard error what failed, and gives the exit code.
Task<int> dispatch(Context& context, Invocation invocation);

// The program: parses, runs its own loop until the command is done.
int run_program(const std::vector<std::string>& args);

}  // namespace atl::cli
