#include "agent/process/environment.h"

#include <sys/stat.h>

#include "base/limits.h"

namespace atl::agent {
namespace {

constexpr int kArgsMax = 65536;
// The kernel takes a quarter of the stack's limit (2 MiB) for arguments and environment together.
constexpr std::size_t kArgBytesMax = 2u << 20;
constexpr std::size_t kPathBytesMax = 4095;

bool has_nul(const std::string& text) {
  return text.find('\0') != text.npos;
}

Status check_args(const ::process::ProcessConfig& config) {
  if (config.cmd().empty()) return make_error(Errc::invalid, "process.cmd: missing, a program is required");
  if (has_nul(config.cmd())) return make_error(Errc::invalid, "process.cmd: holds a NUL byte");
  if (config.args_size() > kArgsMax)
    return make_error(Errc::invalid, "process.args: more than " + std::to_string(kArgsMax) + " arguments");
  std::size_t bytes = config.cmd().size();
  for (const std::string& arg : config.args()) {
    if (has_nul(arg)) return make_error(Errc::invalid, "process.args: an argument holds a NUL byte");
    bytes += arg.size() + 1;
  }
  if (bytes > kArgBytesMax)
    return make_error(Errc::invalid, "process.args: " + std::to_string(bytes) + " bytes, the limit is " +
                                         std::to_string(kArgBytesMax));
  return ok();
}

Status check_env(const ::process::ProcessConfig& config) {
  if (config.envs().size() > limits::env_entries_max)
    return make_error(Errc::invalid,
                      "process.envs: more than " + std::to_string(limits::env_entries_max) + " variables");
  std::size_t bytes = 0;
  for (const auto& [name, value] : config.envs()) {
    if (name.empty() || name.find('=') != name.npos || has_nul(name) || has_nul(value))
      return make_error(Errc::invalid,
                        "process.envs: a name is empty or holds '=' or NUL, or a value holds NUL");
    bytes += name.size() + value.size();
  }
  if (bytes > limits::env_bytes_max)
    return make_error(Errc::invalid, "process.envs: " + std::to_string(bytes) + " bytes, the limit is " +
                                         std::to_string(limits::env_bytes_max));
  return ok();
}

bool is_folder(const std::string& path) {
  struct stat info{};
  return ::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

}  // namespace

Env command_env(const UserInfo& user, const Env& sandbox, const ::process::ProcessConfig& config) {
  Env env = {
      {"PATH", std::string(kDefaultPath)}, {"HOME", user.home}, {"USER", user.name}, {"LOGNAME", user.name}};
  for (const auto& [name, value] : sandbox) env[name] = value;
  for (const auto& [name, value] : config.envs()) env[name] = value;
  return env;
}

std::string resolve_path(std::string_view path, const UserInfo& user) {
  if (path == "~") return user.home;
  if (path.starts_with("~/"))
    path.remove_prefix(2);
  else if (path.starts_with("/"))
    return std::string(path);
  return user.home + (user.home.ends_with('/') ? "" : "/") + std::string(path);
}

Status check_config(const ::process::ProcessConfig& config) {
  CHECK_OK(check_args(config));
  CHECK_OK(check_env(config));
  if (config.cwd().size() > kPathBytesMax || has_nul(config.cwd()))
    return make_error(Errc::invalid, "process.cwd: longer than 4095 bytes, or holds a NUL byte");
  return ok();
}

Result<std::string> working_folder(const ::process::ProcessConfig& config, const UserInfo& user,
                                   std::string_view default_workdir) {
  if (!config.cwd().empty()) {
    const std::string path = resolve_path(config.cwd(), user);
    struct stat info{};
    if (::stat(path.c_str(), &info) != 0) {
      if (errno == ENOENT || errno == ENOTDIR)
        return make_error(Errc::invalid, "cwd '" + path + "' does not exist");
      return os_error("cwd", path);
    }
    if (!S_ISDIR(info.st_mode)) return make_error(Errc::invalid, "cwd '" + path + "' is not a directory");
    return path;
  }
  if (!default_workdir.empty()) {
    const std::string path = resolve_path(default_workdir, user);
    if (is_folder(path)) return path;
  }
  return is_folder(user.home) ? user.home : std::string("/");
}

Result<SpawnPlan> plan_command(const ::process::ProcessConfig& config, const std::string& user_name,
                               const Env& sandbox, std::string_view default_workdir) {
  SpawnPlan plan;
  TRY(plan.user, Users::load().find(user_name));
  TRY(plan.cwd, working_folder(config, plan.user, default_workdir));
  plan.argv.push_back(config.cmd());
  for (const std::string& arg : config.args()) plan.argv.push_back(arg);
  const Env env = command_env(plan.user, sandbox, config);
  for (const auto& [name, value] : env) plan.env.push_back(name + "=" + value);
  plan.search_path = env.at("PATH");
  return plan;
}

}  // namespace atl::agent
