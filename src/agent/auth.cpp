#include "agent/auth.h"

#include "base/blocking.h"

namespace atl::agent {

std::optional<std::string> basic_user(const rpc::Headers& headers) {
  const std::string_view value = headers.get_or("authorization", "");
  const auto space = value.find(' ');
  if (space == value.npos || !rpc::iequals(value.substr(0, space), "basic")) return std::nullopt;
  auto decoded = base64_decode(value.substr(space + 1));
  if (!decoded) return std::nullopt;
  const auto colon = decoded->find(':');
  if (colon == decoded->npos || colon == 0) return std::nullopt;
  return decoded->substr(0, colon);
}

std::string user_name_or_default(const AgentContext& context, const std::optional<std::string>& named) {
  if (named && !named->empty()) return *named;
  return context.boot.default_user.empty() ? "root" : context.boot.default_user;
}

Task<Result<UserInfo>> request_user(AgentContext& context, std::optional<std::string> named) {
  std::string name = user_name_or_default(context, named);
  auto look_up = [name = std::move(name)] { return Users::load().find(name); };
  co_return co_await run_blocking(context.pool, std::move(look_up));
}

}  // namespace atl::agent
