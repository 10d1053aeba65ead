// create, kill, timeout: what changes a sandbox's life.
#include <fmt/format.h>

#include "cli/commands.h"
#include "cli/duration.h"
#include "cli/exits.h"
#include "cli/text.h"

namespace atl::cli {
namespace {

// Ends each of `ids`; the worst failure decides the exit code, and every one is told.
Task<Result<int>> kill_each(Context& context, std::shared_ptr<Backend> backend, std::vector<std::string> ids,
                            bool as_json) {
  int exit_code = kExitOk;
  json::array killed, failed;
  for (const std::string& id : ids) {
    const Status status = co_await backend->kill(id);
    if (status.ok()) {
      killed.push_back(json::value(id));
      if (!as_json) CO_CHECK_OK(co_await context.print(printable(id) + "\n"));
      continue;
    }
    if (status.error().code == Errc::unavailable || status.error().code == Errc::unauthenticated)
      co_return status.error();
    json::object entry;
    entry["sandboxID"] = id;
    entry["message"] = status.error().message;
    failed.push_back(std::move(entry));
    co_await context.note(fmt::format("kill {}: {}", id, status.error().message));
    if (exit_code == kExitOk) exit_code = exit_code_for(status.error());
  }
  if (as_json) {
    json::object out;
    out["killed"] = std::move(killed);
    out["failed"] = std::move(failed);
    CO_CHECK_OK(co_await context.print(json_text(out) + "\n"));
  }
  co_return exit_code;
}

}  // namespace

Task<Result<int>> execute(Context& context, CreateOptions options) {
  CO_TRY(const auto backend, context.connect());
  CO_TRY(const json::value reply, co_await backend->create(options.sandbox));
  CO_TRY(const SandboxAccess access, access_of(reply));
  CO_CHECK_OK(co_await context.print((options.as_json ? json_text(reply) : printable(access.id)) + "\n"));
  co_return kExitOk;
}

Task<Result<int>> execute(Context& context, KillOptions options) {
  CO_TRY(const auto backend, context.connect());
  std::vector<std::string> ids = std::move(options.ids);
  if (options.all) {
    CO_TRY(const auto listing, co_await backend->list("running,paused", {}, true));
    for (const json::value& sandbox : listing.sandboxes) {
      CO_TRY(const SandboxAccess access, access_of(sandbox));
      ids.push_back(access.id);
    }
  }
  co_return co_await kill_each(context, backend, std::move(ids), options.as_json);
}

Task<Result<int>> execute(Context& context, TimeoutOptions options) {
  CO_TRY(const auto backend, context.connect());
  CO_CHECK_OK(co_await backend->set_timeout(options.id, options.seconds));
  if (options.as_json) {
    json::object out;
    out["sandboxID"] = options.id;
    out["seconds"] = options.seconds;
    CO_CHECK_OK(co_await context.print(json_text(out) + "\n"));
    co_return kExitOk;
  }
  co_await context.note(fmt::format("sandbox {} now ends in {}", options.id, format_duration(options.seconds)));
  co_return kExitOk;
}

}  // namespace atl::cli
