#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "cli/options.h"

namespace atl::cli {

struct Endpoint {
  std::string host;  // a numeric address
  std::uint16_t port = 0;
  std::string authority() const;  // "127.0.0.1:7700", "[::1]:7700"
  std::string url() const { return "http://" + authority(); }
  auto operator<=>(const Endpoint&) const = default;
};

struct Credentials {
  std::string api_key;
  std::string project;  // "" where only the key is known
  std::string source;   // for messages: where the key came from
};

// The environment as a parameter, so that tests have their own.
using Environment = std::function<std::optional<std::string>(const char* name)>;
Environment process_environment();

// "http://HOST:PORT", "HOST:PORT" or "HOST" (port 7700); a trailing slash is ignored. Names are
// looked up (this blocks: call it before anything else runs).
Result<Endpoint> parse_endpoint(std::string_view text);

// The first of: --endpoint, $ATOLL_ENDPOINT, $E2B_API_URL, <run>/endpoint. Errc::unavailable where
// that file is missing: no daemon runs.
Result<Endpoint> find_endpoint(const GlobalOptions& options, const Environment& environment);

// The first of: --api-key-file, $E2B_API_KEY, <root>/credentials.json. Errc::unauthenticated where
// there is none, Errc::denied where the file may not be read.
Result<Credentials> find_credentials(const GlobalOptions& options, const Environment& environment);

// `content` of a key file: {"apiKey","project"} or the bare key with blanks around it.
Result<Credentials> parse_credentials(std::string_view content, const std::string& path);

}  // namespace atl::cli
