#include "agent/users.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "base/fs.h"

namespace atl::agent {
namespace {

constexpr std::size_t kFileBytesMax = 4u << 20;
constexpr std::size_t kEntriesMax = 65536;
// The kernel's bound is 65536; a user in more groups than this keeps the first ones.
constexpr std::size_t kGroupsPerUserMax = 1024;

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    const auto at = text.find(separator);
    parts.push_back(text.substr(0, at));
    if (at == text.npos) return parts;
    text.remove_prefix(at + 1);
  }
}

// 2^32 - 1 means "no change" to the kernel, so it is nobody's number.
std::optional<std::uint32_t> number(std::string_view text) {
  std::uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value == UINT32_MAX) return std::nullopt;
  return value;
}

template <class Each>
void for_lines(std::string_view text, Each each) {
  for (std::size_t count = 0; !text.empty() && count < kEntriesMax; ++count) {
    const auto end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == text.npos ? text.size() : end + 1);
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    if (!line.empty() && line.front() != '#' && line.find('\0') == line.npos) each(line);
  }
}

}  // namespace

Users Users::load(const std::string& passwd_path, const std::string& group_path) {
  const auto passwd = read_file(passwd_path, kFileBytesMax), group = read_file(group_path, kFileBytesMax);
  return parse(passwd.ok() ? *passwd : std::string(), group.ok() ? *group : std::string());
}

Users Users::parse(std::string_view passwd, std::string_view group) {
  Users users;
  for_lines(group, [&](std::string_view line) { users.add_group_line(line); });
  for_lines(passwd, [&](std::string_view line) { users.add_passwd_line(line); });
  if (!users.user_by_name_.contains("root")) users.add_passwd_line("root:x:0:0:root:/root:/bin/sh");
  if (!users.group_by_gid_.contains(0)) users.add_group_line("root:x:0:");
  return users;
}

// name:password:uid:gid:gecos:home:shell (passwd(5)); the first entry of a name or number counts.
void Users::add_passwd_line(std::string_view line) {
  const auto fields = split(line, ':');
  if (fields.size() < 6 || fields[0].empty()) return;
  const auto uid = number(fields[2]), gid = number(fields[3]);
  if (!uid || !gid) return;
  UserInfo user{std::string(fields[0]), *uid, *gid, {*gid}, std::string(fields[5]), ""};
  if (user.home.empty() || user.home.front() != '/') user.home = "/";
  user.shell = fields.size() > 6 && !fields[6].empty() ? std::string(fields[6]) : "/bin/sh";
  user_by_name_.try_emplace(user.name, users_.size());
  user_by_uid_.try_emplace(user.uid, users_.size());
  users_.push_back(std::move(user));
}

// name:password:gid:member,member (group(5))
void Users::add_group_line(std::string_view line) {
  const auto fields = split(line, ':');
  if (fields.size() < 3 || fields[0].empty()) return;
  const auto gid = number(fields[2]);
  if (!gid) return;
  Group group{std::string(fields[0]), *gid, {}};
  if (fields.size() > 3)
    for (std::string_view member : split(fields[3], ','))
      if (!member.empty()) group.members.emplace_back(member);
  group_by_gid_.try_emplace(group.gid, groups_.size());
  groups_.push_back(std::move(group));
}

Result<UserInfo> Users::find(std::string_view name) const {
  const auto found = user_by_name_.find(std::string(name));
  if (found == user_by_name_.end())
    return make_error(Errc::unauthenticated, "invalid username: '" + std::string(name) + "'");
  UserInfo user = users_[found->second];
  for (const Group& group : groups_) {
    if (group.gid == user.gid || user.groups.size() >= kGroupsPerUserMax) continue;
    if (std::find(group.members.begin(), group.members.end(), name) == group.members.end()) continue;
    if (std::find(user.groups.begin(), user.groups.end(), group.gid) == user.groups.end())
      user.groups.push_back(group.gid);
  }
  return user;
}

std::string Users::name_of(uid_t uid) const {
  const auto found = user_by_uid_.find(uid);
  return found == user_by_uid_.end() ? std::to_string(uid) : users_[found->second].name;
}

std::string Users::group_name_of(gid_t gid) const {
  const auto found = group_by_gid_.find(gid);
  return found == group_by_gid_.end() ? std::to_string(gid) : groups_[found->second].name;
}

}  // namespace atl::agent
