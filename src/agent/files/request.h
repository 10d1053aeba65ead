#pragma once
#include <optional>
#include <string>

#include "agent/auth.h"
#include "agent/context.h"
#include "agent/files/walker.h"
#include "agent/users.h"
#include "base/json.h"
#include "base/result.h"
#include "rpc/message.h"

namespace atl::agent {

// Who asks, and whose names are whose: read once for each request, on the pool.
struct Caller {
  std::shared_ptr<const Users> users;
  UserInfo user;

  Owner owner() const { return {user.uid, user.gid}; }
  WalkOptions walking() const;
};
// Blocking. Errc::unauthenticated for an unknown user.
Result<Caller> load_caller(const std::string& name);

// HTTP's status of a failed /files request: as everywhere, but 507 for a full disk or quota.
int files_status(const Error& error);
Task<void> reply_files_error(rpc::Exchange& exchange, Error error);

// {"name","path","type":"file","metadata":{...}} of a file that was written.
json::value written_json(const std::string& path,
                         const std::vector<std::pair<std::string, std::string>>& metadata);

// read_some that gives up with Errc::deadline after `idle` without a byte.
Task<Result<std::size_t>> read_within(rpc::ByteSource& source, std::span<char> into, Millis idle);

}  // namespace atl::agent
