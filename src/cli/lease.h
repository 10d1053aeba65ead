#pragma once
#include <boost/asio/steady_timer.hpp>
#include <memory>
#include <string>

#include "cli/backend.h"

namespace atl::cli {

// Keeps a sandbox alive while atoll needs it: its end is always kLeaseSeconds away, so that it ends
// soon after an atoll that was killed. Stops when destroyed.
inline constexpr std::int64_t kLeaseSeconds = 300;

class Lease {
 public:
  Lease(asio::any_io_executor executor, std::shared_ptr<Backend> backend, std::string id);
  ~Lease();
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;

 private:
  struct State {
    explicit State(asio::any_io_executor executor) : timer(executor) {}
    asio::steady_timer timer;
    bool over = false;
  };
  static Task<void> renew(std::shared_ptr<State> state, std::shared_ptr<Backend> backend, std::string id);

  std::shared_ptr<State> state_;
};

}  // namespace atl::cli
