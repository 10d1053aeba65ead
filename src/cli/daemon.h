#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/subprocess.h"
#include "cli/options.h"

namespace atl::cli {

inline constexpr const char* kConfigFile = "/etc/atoll/atoll.toml";

// "PID STARTTIME", as the supervisor writes it.
std::optional<ProcessId> parse_pid_file(std::string_view content);

struct RoleState {
  std::string name;
  std::optional<ProcessId> process;  // what its pid file says
  bool alive = false;
};
// atolld (the supervisor), api, node, edge.
std::vector<RoleState> role_states(const GlobalOptions& options);
RoleState role_state(const GlobalOptions& options, const std::string& name);

// Seconds that it has run.
std::int64_t age_s(const ProcessId& process);

// `root` of the configuration file that setup writes, so that atoll finds a daemon installed
// elsewhere; nullopt where there is none. Understands `root = "..."`.
std::optional<std::string> configured_root(std::string_view toml);

// Whether systemd has to start and stop it: it is pid 1, the unit exists, and these are its folders.
bool systemd_manages(const GlobalOptions& options);

// Starts atolld in a session of its own, its words going to `log`. The pid is this process's child.
// `first_new_byte` is where its words begin in the log.
struct Launched {
  pid_t pid = 0;
  std::string log;
  std::int64_t first_new_byte = 0;
};
Result<Launched> launch_daemon(const GlobalOptions& options, const std::vector<std::string>& more_words);

// The daemon's last words, for when it ended at once.
std::string log_tail(const Launched& launched);

// Sends a signal and waits for the end. Blocking, at most `deadline_ms`.
Status end_process(const ProcessId& process, int signal, int deadline_ms);

}  // namespace atl::cli
