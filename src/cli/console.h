#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/task.h"

namespace atl::cli {

enum class Stream : std::uint8_t { out, err };

// Where a command's words come from and go to; tests give one of their own.
class Console {
 public:
  virtual ~Console() = default;
  // Returns when the bytes were taken. Errc::conflict with os_error EPIPE: nobody reads any more.
  virtual Task<Status> write(Stream stream, std::string_view bytes) = 0;
  // Standard input, at most `bytes_max`; "" = its end, or stop_reading() was called.
  virtual Task<Result<std::string>> read(std::size_t bytes_max) = 0;
  virtual void stop_reading() = 0;

  virtual bool is_terminal(Stream stream) const = 0;
  virtual bool input_is_terminal() const = 0;
  // Standard input can give nothing: /dev/null, or it is closed.
  virtual bool input_is_empty() const = 0;
  // Of the terminal on that stream; nullopt where it is none.
  virtual std::optional<std::size_t> columns(Stream stream) const = 0;
  virtual bool colour(Stream stream) const = 0;
};

}  // namespace atl::cli
