#include "cli/ephemeral.h"

#include <fmt/format.h>

namespace atl::cli {

constexpr int kKillRetries = 10;
constexpr Millis kKillAgain{500};

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
  Status killed = co_await backend_->kill(access_.id);
  // An edge that was restarted is back in a second; a second signal says not to wait for it.
  const int signals = context_.interrupts.count();
  for (int tries = 0; tries < kKillRetries && !killed.ok() && killed.error().code == Errc::unavailable; ++tries) {
    co_await sleep_for(kKillAgain);
    if (context_.interrupts.count() != signals) break;
    killed = co_await backend_->kill(access_.id);
  }
  if (!killed.ok() && killed.error().code != Errc::not_found)
    co_await context_.note(fmt::format("sandbox {} could not be ended ({}); end it with: atoll kill {}", access_.id,
                                       killed.error().message, access_.id));
}

}  // namespace atl::cli
