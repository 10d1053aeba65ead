#pragma once
#include <string>
#include <string_view>

#include "agent/users.h"
#include "base/result.h"

namespace atl::agent {

// The absolute path that a client's path means, by E2B's rules: "" is the default working folder
// (the home where there is none), "~" and "~/x" the user's home, a relative path starts at the home
// (not at the working folder) and loses its "." and ".." by text; an absolute path stays as it is
// but for doubled and trailing slashes. Errc::invalid: "~name", a NUL byte.
Result<std::string> expand_path(std::string_view path, const UserInfo& user,
                                std::string_view default_workdir);

// By text alone: "/a/./b/../c/" is "/a/c".
std::string clean_path(std::string_view absolute);

std::string base_name(std::string_view path);    // "/" for the root
std::string parent_name(std::string_view path);  // "/" for "/x"
std::string join_path(std::string_view folder, std::string_view name);

// Invalid UTF-8 becomes U+FFFD: file names are bytes, messages are text.
std::string utf8_text(std::string_view bytes);

}  // namespace atl::agent
