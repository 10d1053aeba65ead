#include "agent/files/request.h"

#include <boost/asio/experimental/awaitable_operators.hpp>

#include "agent/codec.h"
#include "agent/files/guest_path.h"
#include "fmt/format.h"

namespace atl::agent {

WalkOptions Caller::walking() const {
  WalkOptions options;
  options.groups_of = [known = users](uid_t uid) {
    auto user = known->find(known->name_of(uid));
    return user.ok() ? user->groups : std::vector<gid_t>{};
  };
  return options;
}

Result<Caller> load_caller(const std::string& name) {
  auto users = std::make_shared<const Users>(Users::load());
  TRY(UserInfo user, users->find(name));
  return Caller{std::move(users), std::move(user)};
}

int files_status(const Error& error) {
  if (error.os_error == ENOSPC || error.os_error == EDQUOT) return 507;
  return http_status(error.code);
}

Task<void> reply_files_error(rpc::Exchange& exchange, Error error) {
  const int status = files_status(error);
  if (status == 507) error.message = "not enough disk space available: " + error.message;
  co_await reply_plain_error(exchange, status, error.message);
}

json::value written_json(const std::string& path,
                         const std::vector<std::pair<std::string, std::string>>& metadata) {
  json::object entry;
  entry["name"] = utf8_text(base_name(path));
  entry["path"] = utf8_text(path);
  entry["type"] = "file";
  if (metadata.empty()) return entry;
  json::object map;
  for (const auto& [key, value] : metadata) map[key] = value;
  entry["metadata"] = std::move(map);
  return entry;
}

Task<Result<std::size_t>> read_within(rpc::ByteSource& source, std::span<char> into, Millis idle) {
  using namespace asio::experimental::awaitable_operators;
  asio::steady_timer timer(co_await asio::this_coro::executor, idle);
  auto first = co_await (source.read_some(into) || timer.async_wait(asio::use_awaitable));
  if (first.index() == 0) co_return std::get<0>(std::move(first));
  co_return make_error(Errc::deadline,
                       fmt::format("the upload brought no byte for {} s; what had arrived is in the file",
                                   std::chrono::duration_cast<std::chrono::seconds>(idle).count()));
}

}  // namespace atl::agent
