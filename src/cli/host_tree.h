#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace atl::cli {

inline constexpr std::size_t kTreeEntriesMax = 1'000'000;
inline constexpr int kTreeDepthMax = 128;

struct HostEntry {
  enum class Kind : std::uint8_t { directory, file, link, other };
  std::string path;    // relative to the root of the scan; "" = the root itself
  Kind kind = Kind::file;
  unsigned mode = 0;   // permission bits
  std::uint64_t bytes = 0;
  std::string target;  // of a link
};

// Everything below `root` (a folder), folders before what is in them, links not followed. Blocking.
Result<std::vector<HostEntry>> scan_tree(const std::string& root);

// A file that appears under its name only when it is whole: written under a temporary name beside
// it, removed again when dropped before commit(). All by descriptor, so that no link in between is
// followed. Blocking.
class NewFile {
 public:
  static Result<NewFile> create(int folder, const std::string& name, unsigned mode);
  NewFile(NewFile&&) = default;
  NewFile& operator=(NewFile&&) = delete;
  ~NewFile();
  Status write(std::string_view bytes);
  Status commit();

 private:
  NewFile(UniqueFd folder, UniqueFd fd, std::string temporary, std::string name)
      : folder_(std::move(folder)), fd_(std::move(fd)), temporary_(std::move(temporary)), name_(std::move(name)) {}
  UniqueFd folder_, fd_;
  std::string temporary_, name_;
};

// A symbolic link, in the place of what is no folder. Blocking.
Status make_link(int folder, const std::string& name, const std::string& target);

// Opens the folder `name` below `folder`, made where it is missing; a link there is refused.
Result<UniqueFd> open_or_make_folder(int folder, const std::string& name);

}  // namespace atl::cli
