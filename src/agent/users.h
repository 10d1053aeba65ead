#pragma once
#include <sys/types.h>

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/result.h"

namespace atl::agent {

struct UserInfo {
  std::string name;
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups;  // supplementary ones; gid is among them
  std::string home;           // never empty
  std::string shell;
};

// /etc/passwd and /etc/group, read by ourselves: the C library's look-ups would load shared
// objects into a static program. A missing file is an empty one, and root is always known, so that
// a root file system that holds nothing works too. Lines that make no sense are skipped.
// Bounds: 4 MiB a file, 65536 entries each.
class Users {
 public:
  // Blocking (two small files): call it on the pool, once per request.
  static Users load(const std::string& passwd_path = "/etc/passwd",
                    const std::string& group_path = "/etc/group");
  static Users parse(std::string_view passwd, std::string_view group);

  // Errc::unauthenticated with E2B's own text: invalid username: 'x'.
  Result<UserInfo> find(std::string_view name) const;
  // The number as text where there is no name.
  std::string name_of(uid_t uid) const;
  std::string group_name_of(gid_t gid) const;

 private:
  struct Group {
    std::string name;
    gid_t gid;
    std::vector<std::string> members;
  };
  void add_passwd_line(std::string_view line);
  void add_group_line(std::string_view line);

  std::vector<UserInfo> users_;
  std::vector<Group> groups_;
  std::unordered_map<std::string, std::size_t> user_by_name_;
  std::unordered_map<uid_t, std::size_t> user_by_uid_;
  std::unordered_map<gid_t, std::size_t> group_by_gid_;
};

}  // namespace atl::agent
