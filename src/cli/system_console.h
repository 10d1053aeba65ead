#pragma once
#include <boost/asio/thread_pool.hpp>
#include <memory>

#include "base/unique_fd.h"
#include "cli/console.h"

namespace atl::cli {

// The process's own descriptors 0, 1 and 2. Waiting and writing happen on two pool threads: the
// loop must see signals while a pager or a terminal holds output back.
class SystemConsole final : public Console {
 public:
  static Result<std::unique_ptr<SystemConsole>> make();
  ~SystemConsole() override;

  Task<Status> write(Stream stream, std::string_view bytes) override;
  Task<Result<std::string>> read(std::size_t bytes_max) override;
  void stop_reading() override;
  bool is_terminal(Stream stream) const override;
  bool input_is_terminal() const override;
  bool input_is_empty() const override;
  std::optional<std::size_t> columns(Stream stream) const override;
  bool colour(Stream stream) const override;

 private:
  explicit SystemConsole(UniqueFd stop) : stop_(std::move(stop)) {}

  UniqueFd stop_;  // an eventfd: readable = reading is over
  asio::thread_pool readers_{1}, writers_{1};
};

}  // namespace atl::cli
