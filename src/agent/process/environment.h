#pragma once
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "agent/process/spawn.h"
#include "agent/users.h"
#include "base/result.h"
#include "proto/process.pb.h"

namespace atl::agent {

inline constexpr std::string_view kDefaultPath =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

using Env = std::map<std::string, std::string>;

// PATH, and HOME, USER and LOGNAME of the user, then the sandbox's variables, then the
// command's own: the later wins.
Env command_env(const UserInfo& user, const Env& sandbox, const ::process::ProcessConfig& config);

// E2B's rule for paths: "~" and "~/x" and relative ones are of the user's home.
std::string resolve_path(std::string_view path, const UserInfo& user);

// Bounds of what a command may be given, and no NUL anywhere: Errc::invalid or Errc::exhausted
// names the field.
Status check_config(const ::process::ProcessConfig& config);

// The folder a command starts in: the one asked for, which must exist (Errc::invalid: cwd '...'
// does not exist); else the default workdir, else the home, else "/", whichever exists first.
// Blocking.
Result<std::string> working_folder(const ::process::ProcessConfig& config, const UserInfo& user,
                                   std::string_view default_workdir);

// All of a command's plan but its streams. Blocking (reads /etc/passwd, looks at folders).
Result<SpawnPlan> plan_command(const ::process::ProcessConfig& config, const std::string& user_name,
                               const Env& sandbox, std::string_view default_workdir);

}  // namespace atl::agent
