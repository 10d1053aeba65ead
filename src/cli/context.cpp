#include "cli/context.h"

#include "cli/text.h"

namespace atl::cli {

Result<std::shared_ptr<Backend>> Context::connect() const {
  TRY(Endpoint endpoint, find_endpoint(global, environment));
  TRY(Credentials credentials, find_credentials(global, environment));
  return std::make_shared<Backend>(executor, std::move(endpoint), std::move(credentials.api_key));
}

Task<Status> Context::print(std::string text) const { co_return co_await console.write(Stream::out, text); }

Task<void> Context::note(std::string text) const {
  const std::string line = "atoll: " + printable(text) + "\n";
  // Standard error is gone: there is nobody left to tell.
  [[maybe_unused]] const Status written = co_await console.write(Stream::err, line);
}

}  // namespace atl::cli
