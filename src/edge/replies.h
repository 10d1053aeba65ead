#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "rpc/message.h"

namespace atl::edge {

// Clients look for these words in a 502 (e2b 2.53 and later): they tell a dead sandbox from one
// whose server is not there.
inline constexpr std::string_view kNotFound = "The sandbox was not found";
inline constexpr std::string_view kPortClosed = "The sandbox is running but port is not open";
inline constexpr std::string_view kTooMany =
    "The sandbox has too many requests and connections under way; end some, or try again later";

struct SandboxError {
  int status = 502;
  std::string message;
  std::string id;                     // "" = left out
  std::optional<std::uint16_t> port;  // only where it matters
};

// {sandboxId, message, port?, code}, or a small page when a browser navigates.
Task<void> reply_sandbox_error(rpc::Exchange& exchange, SandboxError error);
// {code, message}, REST's shape. retry_after_s > 0 adds Retry-After and Should-Retry: true.
Task<void> reply_rest_error(rpc::Exchange& exchange, int status, std::string message, int retry_after_s = 0);

bool is_preflight(const rpc::RequestHead& request);
Task<void> reply_preflight(rpc::Exchange& exchange);
// Any origin, and the headers that E2B's clients read. Those that are there already stay.
void add_cors(rpc::Headers& headers);

bool is_navigation(const rpc::RequestHead& request);
std::string html_escape(std::string_view text);

}  // namespace atl::edge
