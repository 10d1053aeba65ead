#include "cli/ephemeral.h"

#include <fmt/format.h>

namespace atl::cli {

Task<Result<std::unique_ptr<Ephemeral>>> Ephemeral::create(Context& context, std::shared_ptr<Backend> backend,
                                                           NewSandbox sandbox, bool keep) {
  const bool leased = !sandbox.timeout_s;
  if (leased) sandbox.timeout_s = kLeaseSeconds;
  CO_TRY(const json::value reply, co_await backend->create(sandbox));
  CO_TRY(SandboxAccess access, access_of(reply));
  auto fresh = std::make_unique<Ephemeral>(context, backend, std::move(access), keep);
  if (leased) fresh->lease_.emplace(context.executor, backend, fresh->access().id);
  co_return fresh;
}

Task<void> Ephemeral::end() {
  lease_.reset();
  if (keep_) {
    co_await context_.note(fmt::format("kept sandbox {}; end it with: atoll kill {}", access_.id, access_.id));
    co_return;
  }
  const Status killed = co_await backend_->kill(access_.id);
  if (!killed.ok() && killed.error().code != Errc::not_found)
    co_await context_.note(fmt::format("sandbox {} could not be ended ({}); end it with: atoll kill {}", access_.id,
                                       killed.error().message, access_.id));
}

}  // namespace atl::cli
