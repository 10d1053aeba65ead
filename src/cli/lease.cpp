#include "cli/lease.h"

#include <boost/asio/as_tuple.hpp>

namespace atl::cli {

Lease::Lease(asio::any_io_executor executor, std::shared_ptr<Backend> backend, std::string id)
    : state_(std::make_shared<State>(executor)) {
  spawn(executor, "lease", renew(state_, std::move(backend), std::move(id)));
}

Lease::~Lease() {
  state_->over = true;
  state_->timer.cancel();
}

Task<void> Lease::renew(std::shared_ptr<State> state, std::shared_ptr<Backend> backend, std::string id) {
  // A third of the lease: one renewal may be lost (the daemon restarts) without an end.
  const auto interval = std::chrono::seconds(kLeaseSeconds / 3);
  while (!state->over) {
    state->timer.expires_after(interval);
    co_await state->timer.async_wait(asio::as_tuple(asio::use_awaitable));
    if (state->over) co_return;
    const Status renewed = co_await backend->set_timeout(id, kLeaseSeconds);
    if (!renewed.ok() && renewed.error().code == Errc::not_found) co_return;
  }
}

}  // namespace atl::cli
