#include "control/template_catalog.h"

#include "base/fs.h"
#include "base/json.h"
#include "base/log.h"
#include "control/time_text.h"

namespace atl::control {
namespace {

constexpr std::size_t kTemplateBytesMax = 1u << 20;
constexpr std::size_t kTemplatesMax = 10'000;

Result<Template> read_one(const std::string& folder, const std::string& name) {
  TRY(const std::string text, read_file(folder + "/template.json", kTemplateBytesMax));
  TRY(const json::value value, parse_json(text));
  const JsonReader reader(value, "template.json");
  Template out;
  out.name = name;
  TRY(auto id, reader.opt_string("templateId"));
  out.id = id ? std::move(*id) : name;
  TRY(auto build, reader.opt_string("buildId"));
  out.build_id = build.value_or("");
  TRY(auto tier, reader.opt_string("tier"));
  out.tier = tier.value_or("");
  TRY(const auto vcpus, reader.opt_int("vcpus", 1, 1024));
  TRY(const auto memory, reader.opt_int("memoryMB", 1, 1 << 24));
  TRY(const auto disk, reader.opt_int("diskMB", 1, 1 << 28));
  out.vcpus = vcpus.value_or(out.vcpus);
  out.memory_mb = memory.value_or(out.memory_mb);
  out.disk_mb = disk.value_or(out.disk_mb);
  TRY(const json::value* created, reader.member("createdAt"));
  if (created && created->is_string())
    out.created_ms = parse_rfc3339_us(std::string_view(created->as_string())).value_or(0) / 1000;
  else if (created && created->is_int64())
    out.created_ms = created->as_int64();
  return out;
}

// Identifiers are the same in either case.
std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return out;
}

}  // namespace

Result<std::vector<Template>> TemplateCatalog::read(const std::string& templates_dir) {
  std::vector<Template> out;
  auto names = list_dir(templates_dir);
  // A host that has made no template yet.
  if (!names.ok() && names.error().code == Errc::not_found) return out;
  if (!names.ok()) return names.error();
  for (const std::string& name : *names) {
    if (out.size() == kTemplatesMax) break;
    const std::string folder = templates_dir + "/" + name;
    if (name.starts_with('.') || !exists(folder + "/template.json")) continue;
    auto one = read_one(folder, name);
    if (one.ok()) out.push_back(std::move(*one));
    else log_warn("a template is left out", {{"template", name}, {"error", one.error().message}});
  }
  return out;
}

void TemplateCatalog::replace(std::vector<Template> templates) {
  templates_ = std::move(templates);
  by_key_.clear();
  for (std::size_t i = 0; i < templates_.size(); ++i) by_key_.emplace(lower(templates_[i].id), i);
  // A name wins over another template's id.
  for (std::size_t i = 0; i < templates_.size(); ++i) by_key_[lower(templates_[i].name)] = i;
}

const Template* TemplateCatalog::resolve(std::string_view name, const store::Project& project) const {
  const std::string lowered = lower(name);
  std::string_view asked = lowered;
  if (const auto slash = asked.find('/'); slash != std::string_view::npos) {
    const std::string_view space = asked.substr(0, slash);
    if (space != lower(project.name) && space != lower(project.id)) return nullptr;
    asked.remove_prefix(slash + 1);
  }
  if (const auto colon = asked.find(':'); colon != std::string_view::npos) {
    if (asked.substr(colon + 1) != "default") return nullptr;
    asked = asked.substr(0, colon);
  }
  const auto at = by_key_.find(std::string(asked));
  return at == by_key_.end() ? nullptr : &templates_[at->second];
}

}  // namespace atl::control
