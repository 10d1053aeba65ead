#include "cli/interrupts.h"

#include <boost/asio/signal_set.hpp>
#include <csignal>

namespace atl::cli {

namespace asio = boost::asio;

struct Interrupts::Impl : std::enable_shared_from_this<Impl> {
  explicit Impl(asio::any_io_executor executor) : signals(executor, SIGINT, SIGTERM, SIGHUP) { signals.add(SIGWINCH); }

  void wait() {
    signals.async_wait([self = shared_from_this()](const boost::system::error_code& error, int number) {
      if (error) return;
      self->take(number);
      self->wait();
    });
  }

  void take(int number) {
    if (number == SIGWINCH) {
      if (resize) resize();
      return;
    }
    if (first == 0) first = number;
    ++seen;
    // A copy: the callback may put another in its place.
    if (const auto callback = interrupt) callback(number);
  }

  asio::signal_set signals;
  std::function<void(int)> interrupt;
  std::function<void()> resize;
  int first = 0;
  int seen = 0;
};

Interrupts::Interrupts(asio::any_io_executor executor) : impl_(std::make_shared<Impl>(executor)) { impl_->wait(); }

Interrupts::~Interrupts() {
  impl_->interrupt = nullptr;
  impl_->resize = nullptr;
  boost::system::error_code ignored;
  impl_->signals.cancel(ignored);
}

int Interrupts::received() const { return impl_->first; }
int Interrupts::count() const { return impl_->seen; }
void Interrupts::on_interrupt(std::function<void(int)> callback) { impl_->interrupt = std::move(callback); }
void Interrupts::on_resize(std::function<void()> callback) { impl_->resize = std::move(callback); }
void Interrupts::inject(int number) { impl_->take(number); }

}  // namespace atl::cli
