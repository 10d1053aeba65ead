#pragma once
#include "rpc/h1_exchange.h"

namespace atl::rpc {

// One accepted connection: requests one after the other until either side ends it.
class H1Connection : public std::enable_shared_from_this<H1Connection> {
 public:
  H1Connection(Socket socket, std::unique_ptr<SecureLayer> layer, Http1Limits limits)
      : io_(std::make_shared<H1Io>(std::move(socket), std::move(layer), limits)) {}

  Task<void> run(Handler handler);
  // Answers the first request, whatever it is, with this error.
  Task<void> run_refusing(Error error);
  // Ends after the present request, or now: `now`, or when there is none.
  void stop(bool now);

 private:
  Task<bool> serve_one(Handler& handler);
  Task<std::optional<ParsedRequest>> next_request();
  Task<void> call_handler(Handler& handler, H1Exchange& exchange);
  Task<bool> drain(H1Exchange& exchange);
  Task<void> refuse(Error error);
  Task<void> linger();

  std::shared_ptr<H1Io> io_;
  bool idle_ = false;
};

}  // namespace atl::rpc
