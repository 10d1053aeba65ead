#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace atl::cli {

// One end of a copy: "-" is standard input or output, "ID:PATH" is in a sandbox, all else is on
// this machine. What has a slash before its first colon is never an id.
struct CopyPlace {
  enum class Kind : std::uint8_t { stream, host, sandbox };
  Kind kind = Kind::host;
  std::string id;    // of a sandbox
  std::string path;  // inside it, "" = the working folder; or on this machine

  static Result<CopyPlace> parse(const std::string& text);
};

// The last part of a path without trailing slashes; "" for "", "/", "." and "..".
std::string base_name(std::string_view path);

// `folder`/`name`; just `name` where the folder is "" (relative inside a sandbox).
std::string join_path(std::string_view folder, std::string_view name);

// A name out of a sandbox that may become a name on this machine: one part, no "." or "..", no
// slash, no NUL, at most 255 bytes.
bool is_safe_name(std::string_view name);

}  // namespace atl::cli
