#pragma once
#include <string>

#include "base/result.h"

namespace atl::agent {

// Blocking. Copies an entry and all below it to a name that is free or holds a file that is
// replaced: folders, files, links, pipes and devices with owner, permission bits, times and user.*
// attributes; hard links become files of their own, sockets are left out. On failure the part that
// was copied is removed and the source is as it was. Depth as kTreeDepthMax.
Status copy_tree(int from_folder, const std::string& from_name, int to_folder, const std::string& to_name);

// Blocking. All bytes from one file's offset to its end; in the kernel where it can.
Status copy_bytes(int from, int to);

}  // namespace atl::agent
