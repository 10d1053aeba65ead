#pragma once
#include <string>

#include "base/json.h"
#include "base/result.h"
#include "rpc/message.h"

namespace atl::control {

// One whole reply of the REST interface.
struct Answer {
  int status = 200;
  std::string body;  // JSON, or empty
  rpc::Headers headers;
  // A sandbox that nobody would know of were this reply lost: it is destroyed then.
  std::string undo_if_lost;
};

Answer json_answer(int status, const json::value& value);
Answer no_content();

// {"code","message"[,"error_code"]}: E2B's shape of every error. SDKs read the numeric code.
Answer failure(int status, std::string_view message, std::string_view error_code = "");
// The same with the status of the error's code. A 5xx tells the client whether a retry may help.
Answer failure(const Error& error);
// 400, in the words that E2B uses for what does not fit the schema.
Answer invalid(const Error& error);

// The `Should-Retry` and `Retry-After` headers that newer SDKs obey on 429, 502, 503 and 504. Some
// repeat whatever carries a Retry-After: it is absent where that could not help.
Answer with_retry(Answer answer, bool should_retry, std::int64_t after_s = 1);

}  // namespace atl::control
