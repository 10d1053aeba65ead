#include "isolation/cgroup/layout.h"

#include <algorithm>

namespace atl::isolation::cgroup {
namespace {

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (std::size_t at = 0; at <= text.size();) {
    const auto end = std::min(text.find(separator, at), text.size());
    parts.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return parts;
}

bool is_v1_controller(std::string_view option) {
  return std::find(std::begin(kV1Needed), std::end(kV1Needed), option) != std::end(kV1Needed);
}

struct MountLine {
  std::string point, type;
  std::vector<std::string_view> super_options;
};

// "36 35 98:0 /root /point opts shared:1 - type source super-opts" (proc(5)); the fields before
// " - " vary in number.
std::optional<MountLine> parse_line(std::string_view line) {
  const auto dash = line.find(" - ");
  if (dash == std::string_view::npos) return std::nullopt;
  const auto before = split(line.substr(0, dash), ' ');
  const auto after = split(line.substr(dash + 3), ' ');
  if (before.size() < 6 || after.size() < 3) return std::nullopt;
  return MountLine{decode_mount_path(before[4]), std::string(after[0]), split(after[2], ',')};
}

}  // namespace

std::string decode_mount_path(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    auto digit = [&](std::size_t at) { return text[at] >= '0' && text[at] <= '7'; };
    if (text[i] == '\\' && i + 3 < text.size() && digit(i + 1) && digit(i + 2) && digit(i + 3)) {
      out += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
      i += 3;
    } else {
      out += text[i];
    }
  }
  return out;
}

Result<Layout> parse_layout(std::string_view mountinfo) {
  Layout layout;
  for (std::string_view line : split(mountinfo, '\n')) {
    const auto mount = parse_line(line);
    if (!mount) continue;
    if (mount->type == "cgroup2" && layout.unified.empty()) layout.unified = mount->point;
    if (mount->type != "cgroup") continue;
    for (std::string_view option : mount->super_options)
      if (is_v1_controller(option)) layout.v1.try_emplace(std::string(option), mount->point);
  }
  if (layout.v1.empty() && !layout.unified.empty()) return layout;
  layout.version = Version::v1;
  layout.hybrid_unified = !layout.unified.empty();
  std::string missing;
  for (std::string_view controller : kV1Needed)
    if (!layout.v1.contains(std::string(controller))) missing.append(missing.empty() ? "" : ", ").append(controller);
  if (!missing.empty())
    return make_error(Errc::unsupported,
                      "cgroup controllers not mounted: " + missing +
                          "; mount cgroup2 at /sys/fs/cgroup (systemd.unified_cgroup_hierarchy=1), or each of them");
  return layout;
}

std::optional<std::string> parse_own_v2_group(std::string_view proc_cgroup) {
  for (std::string_view line : split(proc_cgroup, '\n'))
    if (line.rfind("0::", 0) == 0) return std::string(line.substr(3));
  return std::nullopt;
}

}  // namespace atl::isolation::cgroup
