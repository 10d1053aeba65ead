#pragma once
#include <memory>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "cli/backend.h"
#include "cli/console.h"
#include "cli/interrupts.h"
#include "cli/options.h"

namespace atl::cli {

// What every command works with. The executor's loop outlives all of it.
struct Context {
  asio::any_io_executor executor;
  Console& console;
  Interrupts& interrupts;
  const Clock& clock;
  GlobalOptions global;
  Environment environment;

  // A client of the daemon, with the API key; the reason where either is missing.
  Result<std::shared_ptr<Backend>> connect() const;

  Task<Status> print(std::string text) const;                  // standard output
  Task<void> note(std::string text) const;                     // "atoll: text" on standard error, escaped
};

}  // namespace atl::cli
