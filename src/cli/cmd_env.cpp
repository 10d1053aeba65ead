// env, completion, version: text for other programs.
#include <fmt/format.h>

#include "cli/args.h"
#include "cli/commands.h"
#include "cli/completion.h"
#include "cli/exits.h"
#include "cli/text.h"
#include "cli/version.h"

namespace atl::cli {

Task<Result<int>> execute(Context& context, EnvOptions options) {
  CO_TRY(const Endpoint endpoint, find_endpoint(context.global, context.environment));
  CO_TRY(const Credentials credentials, find_credentials(context.global, context.environment));
  const Pairs variables = {{"E2B_API_KEY", credentials.api_key},
                           {"E2B_API_URL", endpoint.url()},
                           {"E2B_SANDBOX_URL", endpoint.url()}};
  std::string text;
  json::object object;
  for (const auto& [name, value] : variables) {
    object[name] = value;
    text += fmt::format("export {}={}\n", name, shell_quote(value));
  }
  if (options.as_json) text = json_text(object) + "\n";
  CO_CHECK_OK(co_await context.print(std::move(text)));
  co_return kExitOk;
}

Task<Result<int>> execute(Context& context, CompletionOptions options) {
  CO_CHECK_OK(co_await context.print(completion_script(options.shell, command_words())));
  co_return kExitOk;
}

Task<Result<int>> execute(Context& context, VersionOptions options) {
  json::object object;
  object["version"] = kVersion;
  CO_CHECK_OK(co_await context.print(options.as_json ? json_text(object) + "\n" : fmt::format("atoll {}\n", kVersion)));
  co_return kExitOk;
}

}  // namespace atl::cli
