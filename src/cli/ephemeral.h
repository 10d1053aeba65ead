#pragma once
#include <memory>
#include <optional>

#include "cli/context.h"
#include "cli/lease.h"

namespace atl::cli {

// A sandbox that lives for one command. Call end() on every path after create.
class Ephemeral {
 public:
  // Waits for the answer even when a signal comes meanwhile: only the answer tells what to end. With
  // a timeout of the caller's own the sandbox keeps it, else it gets a Lease.
  static Task<Result<std::unique_ptr<Ephemeral>>> create(Context& context, std::shared_ptr<Backend> backend,
                                                         NewSandbox sandbox, bool keep);
  const SandboxAccess& access() const { return access_; }
  // Kills it, or with `keep` tells its id on standard error. What fails is told, not returned: the
  // command's own outcome matters more.
  Task<void> end();

  Ephemeral(Context& context, std::shared_ptr<Backend> backend, SandboxAccess access, bool keep)
      : context_(context), backend_(std::move(backend)), access_(std::move(access)), keep_(keep) {}

 private:
  Context& context_;
  std::shared_ptr<Backend> backend_;
  SandboxAccess access_;
  bool keep_;
  std::optional<Lease> lease_;
};

}  // namespace atl::cli
