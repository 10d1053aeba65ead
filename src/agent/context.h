#pragma once
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/thread_pool.hpp>
#include <map>
#include <string>

#include "agent/boot_config.h"
#include "base/clock.h"
#include "base/crypto.h"
#include "base/task.h"
#include "rpc/message.h"

namespace atl::agent {

// What every part of the agent works with. Made once by main and outlives all handlers.
//
// Process 1 reaps every child of the agent (reaper.h), so base/subprocess's run() cannot be used
// here: its status would be taken from it.
struct AgentContext {
  asio::any_io_executor executor;  // the loop; nothing on it may block
  asio::thread_pool& pool;         // for blocking calls, see base/blocking.h
  const Clock& clock;
  BootConfig boot;
  // The sandbox's own environment: E2B_SANDBOX..., then what was given at its creation. Each
  // command's environment starts from it; GET /envs shows it.
  std::map<std::string, std::string> env;

  // True when the request carries the sandbox's token, or when the sandbox has none.
  bool token_matches(const rpc::Headers& headers) const {
    if (boot.access_token.empty()) return true;
    return equal_constant_time(headers.get_or("x-access-token", ""), boot.access_token);
  }
};

// The sandbox's environment from its boot config.
inline std::map<std::string, std::string> sandbox_env(const BootConfig& boot) {
  std::map<std::string, std::string> env = {
      {"E2B_SANDBOX", "true"}, {"E2B_SANDBOX_ID", boot.sandbox_id}, {"E2B_TEMPLATE_ID", boot.template_id}};
  for (const auto& [name, value] : boot.env) env[name] = value;
  return env;
}

}  // namespace atl::agent
