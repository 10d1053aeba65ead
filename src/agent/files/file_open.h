#pragma once
#include "agent/files/walker.h"

namespace atl::agent {

struct OpenFile {
  UniqueFd fd;
  struct stat stat = {};
  std::string real_path;
};

// Blocking, but never by a pipe, device or terminal: only regular files are opened, and what was
// opened is looked at again. Errc::not_found; Errc::invalid for a folder or a special file;
// Errc::denied by the confused deputy rule (walker.h).
Result<OpenFile> open_for_read(const std::string& path, const WalkOptions& options);

// For an upload: makes missing parents and the file (0666 less the umask), or cuts the present one
// to nothing in place, so that its inode, its other names and its permission bits stay. The file
// belongs to `owner` afterwards.
Result<OpenFile> open_for_upload(const std::string& path, WalkOptions options, Owner owner);

}  // namespace atl::agent
