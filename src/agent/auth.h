#pragma once
#include <optional>
#include <string>

#include "agent/context.h"
#include "agent/users.h"

namespace atl::agent {

// The user that Basic authorisation names (the password is ignored: the token is the credential);
// nullopt = none named, so the default user.
std::optional<std::string> basic_user(const rpc::Headers& headers);

// The name a request runs under: `named`, else the boot config's default, else root.
std::string user_name_or_default(const AgentContext& context, const std::optional<std::string>& named);

// The user of an RPC. Reads /etc/passwd on the pool. Errc::unauthenticated: invalid username: 'x'.
Task<Result<UserInfo>> request_user(AgentContext& context, std::optional<std::string> named);

}  // namespace atl::agent
