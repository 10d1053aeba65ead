#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "cli/connection.h"
#include "cli/options.h"
#include "rpc/http1.h"

namespace atl::cli {

// What a sandbox's data plane needs to know of it.
struct SandboxAccess {
  std::string id, access_token;
};

struct RestReply {
  int status = 0;
  rpc::Headers headers;
  json::value body;  // null where there was none
};

// The daemon's REST interface. Replies come from the daemon, texts in them from anywhere: escape
// before showing. Errc::unavailable means that the daemon cannot be reached, and nothing else.
class Backend {
 public:
  Backend(asio::any_io_executor executor, Endpoint endpoint, std::string api_key);

  Task<Result<RestReply>> rest(std::string method, std::string target, std::optional<json::value> body = {},
                               Millis deadline = Millis{75'000});

  Task<Result<json::value>> create(const NewSandbox& sandbox);
  Task<Result<json::value>> detail(const std::string& id);
  Task<Result<SandboxAccess>> access(const std::string& id);
  Task<Status> kill(const std::string& id);
  Task<Status> set_timeout(const std::string& id, std::int64_t seconds);
  // One page, or all of them (bounded). `more` tells whether a page was left out.
  struct Listing {
    json::array sandboxes;
    bool more = false;
  };
  Task<Result<Listing>> list(const std::string& state, const Pairs& metadata, bool all);

  // For the data plane: the same connections and the same words for a daemon that is gone.
  rpc::Client& http() { return *http_; }
  const Endpoint& endpoint() const { return endpoint_; }
  Error unreachable(const Error& cause) const;

 private:
  rpc::RequestHead head(std::string method, std::string target) const;

  Endpoint endpoint_;
  std::string api_key_;
  std::unique_ptr<rpc::Client> http_;
};

// Checks an id before it becomes part of a target; "<id>-<client>" as the SDKs write it is fine.
Status check_id(const std::string& id);

// The failure that an HTTP reply means. `what` was asked ("GET /sandboxes/x"). Knows REST errors
// {code: 404, message}, Connect errors {code: "not_found", message} and replies without JSON.
Error error_of_reply(int status, std::string_view body, std::string_view what);

// The failure behind Connect's name of a code.
Errc errc_of_connect(std::string_view code);

// access token and id of a create reply or a detail.
Result<SandboxAccess> access_of(const json::value& sandbox);

// Query of the list route. Metadata is escaped as the SDKs do: each name and value, then the whole.
std::string list_target(const std::string& state, const Pairs& metadata, const std::string& next_token);

}  // namespace atl::cli
