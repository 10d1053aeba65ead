#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"

namespace atl::rootfs {

inline constexpr std::size_t kLayersMax = 64;  // overlay options fit one page with room to spare

// What a sandbox starts from: templates/NAME/template.json (docs/architecture.md, "Templates").
struct Template {
  std::string name, template_id, build_id;
  std::vector<std::string> layers;  // absolute folders, lowest first
  std::string default_user, default_workdir;
  std::map<std::string, std::string> env;
  std::int64_t vcpus = 0, memory_mb = 0, disk_mb = 0;  // 0 = not stated
  std::string tier, start_cmd, ready_cmd;              // "" = not stated
  std::string created_at;

  // Reads `dir`/template.json; its layers lie in <root>/layers where `dir` is <root>/templates/NAME.
  // Errc::not_found when the template or one of its layers is missing, Errc::invalid names the field.
  static Result<Template> open(const std::string& dir);
  // The parser alone: layers are `layers_dir`/ID, not looked at.
  static Result<Template> parse(std::string_view text, const std::string& layers_dir);
};

}  // namespace atl::rootfs
