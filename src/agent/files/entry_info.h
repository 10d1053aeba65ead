#pragma once
#include <sys/stat.h>

#include <string>

#include "agent/files/walker.h"
#include "agent/users.h"
#include "base/result.h"
#include "proto/filesystem.pb.h"

namespace atl::agent {

// Go's text of a FileMode: "-rw-r--r--", "drwxr-xr-x", "Lrwxrwxrwx", "dtrwxrwxrwx".
std::string go_permissions(mode_t mode);

// Blocking. What a client is told of the entry that `spot` (walked without following its last
// link) names; `path` is the path as the client gave it. Nothing for a spot that does not exist.
filesystem::EntryInfo entry_of(const Spot& spot, const std::string& path, const Users& users,
                               const WalkOptions& options);

// Blocking. The same for an entry of an open folder: `real_folder` is that folder's resolved path.
filesystem::EntryInfo entry_in(int folder, const std::string& real_folder, const std::string& name,
                               const struct stat& st, const std::string& path, const Users& users,
                               const WalkOptions& options);

// Blocking. Errc::not_found where there is nothing.
Result<filesystem::EntryInfo> stat_entry(const std::string& path, const Users& users,
                                         const WalkOptions& options);

}  // namespace atl::agent
