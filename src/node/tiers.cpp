#include "node/tiers.h"

namespace atl::node {

std::string_view posture(isolation::Tier tier) {
  return tier == isolation::Tier::container ? "mistakes-only" : "hostile-code";
}

Tiers::Tiers(std::vector<std::unique_ptr<isolation::Driver>> drivers, std::vector<Missing> missing)
    : drivers_(std::move(drivers)), missing_(std::move(missing)) {
  std::sort(drivers_.begin(), drivers_.end(),
            [](const auto& a, const auto& b) { return a->tier() > b->tier(); });
  probes_.resize(drivers_.size());
}

void Tiers::start_probes(asio::any_io_executor executor) {
  for (std::size_t i = 0; i < drivers_.size(); ++i)
    spawn(executor, "probe of " + std::string(name(drivers_[i]->tier())), probe(i));
}

Task<void> Tiers::probe(std::size_t index) {
  isolation::Probe found = co_await drivers_[index]->probe();
  log_info("tier probed", {{"tier", name(drivers_[index]->tier())},
                           {"works", found.works ? "yes" : "no"},
                           {"reason", found.reason}});
  probes_[index] = std::move(found);
  probed_.notify();
}

Task<bool> Tiers::wait_probed(std::size_t index, Millis at_most) {
  const auto until = std::chrono::steady_clock::now() + at_most;
  while (!probes_[index]) {
    const auto left = std::chrono::duration_cast<Millis>(until - std::chrono::steady_clock::now());
    if (left.count() <= 0) co_return false;
    co_await probed_.wait(left);
  }
  co_return true;
}

Task<Result<isolation::Driver*>> Tiers::choose(std::string tier, Millis at_most) {
  const bool any = tier.empty() || tier == "auto";
  const auto named = isolation::parse_tier(tier);
  if (!any && !named)
    co_return make_error(Errc::invalid, "tier \"" + tier + "\": container, gvisor, microvm or auto expected");
  std::string reasons;
  for (std::size_t i = 0; i < drivers_.size(); ++i) {
    if (!any && drivers_[i]->tier() != *named) continue;
    const std::string which(name(drivers_[i]->tier()));
    if (!co_await wait_probed(i, at_most))
      co_return make_error(Errc::deadline,
                           "tier " + which + " is still being probed; try again in a few seconds");
    const bool too_slow = any && probes_[i]->slow;
    if (probes_[i]->works && !too_slow) co_return drivers_[i].get();
    reasons += (reasons.empty() ? "" : "; ") + which + ": " +
               (too_slow ? "only at the speed of an emulated CPU, so it must be named" : probes_[i]->reason);
  }
  for (const Missing& m : missing_)
    if (any || m.tier == *named)
      reasons += (reasons.empty() ? "" : "; ") + std::string(name(m.tier)) + ": " + m.reason;
  if (reasons.empty()) reasons = "this node has no driver for it";
  co_return make_error(
      Errc::unsupported,
      (any ? "no tier works on this node: " : "tier " + tier + " cannot be had on this node: ") + reasons);
}

Task<std::vector<Tiers::Found>> Tiers::all(Millis at_most) {
  const auto until = std::chrono::steady_clock::now() + at_most;
  std::vector<Found> out;
  bool auto_found = false;
  for (std::size_t i = 0; i < drivers_.size(); ++i) {
    const auto left = std::chrono::duration_cast<Millis>(until - std::chrono::steady_clock::now());
    const bool ended = co_await wait_probed(i, std::max(left, Millis(0)));
    Found found{drivers_[i]->tier(), {}, false};
    if (ended)
      found.probe = *probes_[i];
    else
      found.probe.reason = "its probe has not ended yet";
    found.is_auto = found.probe.works && !found.probe.slow && !auto_found;
    auto_found = auto_found || found.is_auto;
    out.push_back(std::move(found));
  }
  for (const Missing& m : missing_) {
    Found found{m.tier, {}, false};
    found.probe.reason = m.reason;
    out.push_back(std::move(found));
  }
  co_return out;
}

isolation::Driver* Tiers::driver(isolation::Tier tier) {
  for (auto& d : drivers_)
    if (d->tier() == tier) return d.get();
  return nullptr;
}

}  // namespace atl::node
