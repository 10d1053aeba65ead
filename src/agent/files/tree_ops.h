#pragma once
#include <string>
#include <vector>

#include "agent/files/walker.h"
#include "agent/users.h"
#include "base/result.h"
#include "proto/filesystem.pb.h"

// What the Filesystem service does to trees. All of it blocks: call it on the pool. Paths are
// absolute (expand_path). Folders are gone through by descriptor; links in them are never entered.
namespace atl::agent {

inline constexpr std::size_t kListEntriesMax = 200'000;
inline constexpr unsigned kTreeDepthMax = 256;  // folders below the named one; each holds a descriptor

// Errc::exists for a folder that is there, Errc::invalid for a file. Missing parents are made too;
// what is made belongs to `owner`.
Status make_dir(const std::string& path, WalkOptions options, Owner owner);

// rename(2), so an existing file is replaced; missing parents are made. Errc::not_found without a
// source. Where the two lie on different file systems (or the source is a folder of a lower overlay
// layer) the tree is copied and then removed.
Status move_entry(const std::string& source, const std::string& destination, WalkOptions options,
                  Owner owner);

// rm -rf; a missing path is fine. Errc::invalid for "/" and paths that end in "." or "..".
Status remove_entry(const std::string& path, const WalkOptions& options);

// The same for one entry of an open folder.
Status remove_in(int folder, const std::string& name);

// Entries below a folder, each folder before what it holds, names in byte order; depth 0 means 1.
// Their paths start with `path` as given. Errc::exhausted above kListEntriesMax.
Result<std::vector<filesystem::EntryInfo>> list_dir(const std::string& path, std::uint32_t depth,
                                                    const Users& users, const WalkOptions& options);

// An open folder's names without "." and "..", sorted. `folder` is not O_PATH; its offset moves.
Result<std::vector<std::string>> names_in(int folder, std::size_t count_max);

}  // namespace atl::agent
