#include "control/answer.h"

namespace atl::control {

Answer json_answer(int status, const json::value& value) {
  Answer answer;
  answer.status = status;
  answer.body = json::serialize(value);
  return answer;
}

Answer no_content() {
  Answer answer;
  answer.status = 204;
  return answer;
}

Answer failure(int status, std::string_view message, std::string_view error_code) {
  json::object body;
  body["code"] = status;
  body["message"] = message;
  if (!error_code.empty()) body["error_code"] = error_code;
  return json_answer(status, body);
}

Answer failure(const Error& error) {
  Answer answer = failure(http_status(error.code), error.message);
  // What changed nothing may be repeated; a time that ran out says nothing about what happened.
  if (error.code == Errc::unavailable) return with_retry(std::move(answer), true);
  if (error.code == Errc::deadline || error.code == Errc::exhausted) return with_retry(std::move(answer), false);
  return answer;
}

Answer invalid(const Error& error) {
  if (error.code != Errc::invalid) return failure(error);
  return failure(400, "validation error: " + error.message);
}

Answer with_retry(Answer answer, bool should_retry, std::int64_t after_s) {
  answer.headers.set("Should-Retry", should_retry ? "true" : "false");
  if (should_retry) answer.headers.set("Retry-After", std::to_string(after_s < 1 ? 1 : after_s));
  return answer;
}

}  // namespace atl::control
