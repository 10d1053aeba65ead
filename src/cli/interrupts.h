#pragma once
#include <boost/asio/any_io_executor.hpp>
#include <functional>
#include <memory>

namespace atl::cli {

// SIGINT, SIGTERM and SIGHUP as events on the loop, and SIGWINCH for terminals. A signal that comes
// while nobody listens is remembered.
class Interrupts {
 public:
  explicit Interrupts(boost::asio::any_io_executor executor);
  ~Interrupts();

  int received() const;   // the first of them, 0 = none yet
  int count() const;
  // Called for each later signal, on the loop; replaces the one before. Empty: nobody.
  void on_interrupt(std::function<void(int number)> callback);
  void on_resize(std::function<void()> callback);
  // As if that signal had come.
  void inject(int number);

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace atl::cli
