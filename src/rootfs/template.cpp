#include "rootfs/template.h"

#include <sys/stat.h>

#include "base/fs.h"
#include "base/json.h"
#include "base/limits.h"

namespace atl::rootfs {
namespace {

constexpr std::size_t kTemplateBytesMax = 1u << 20;

// Layer ids become path pieces, so nothing but these characters passes.
bool is_layer_id(std::string_view id) {
  if (id.empty() || id.size() > limits::id_bytes_max) return false;
  return std::all_of(id.begin(), id.end(), [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); });
}

std::string parent_of(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  const auto slash = path.rfind('/');
  return slash == std::string::npos ? "." : path.substr(0, std::max<std::size_t>(slash, 1));
}

Status read_texts(const JsonReader& in, Template& out) {
  const std::pair<std::string_view, std::string*> fields[] = {
      {"name", &out.name},           {"templateId", &out.template_id},
      {"buildId", &out.build_id},    {"defaultUser", &out.default_user},
      {"tier", &out.tier},           {"defaultWorkdir", &out.default_workdir},
      {"startCmd", &out.start_cmd},  {"readyCmd", &out.ready_cmd},
      {"createdAt", &out.created_at}};
  for (const auto& [key, into] : fields) {
    TRY(auto text, in.opt_string(key));
    if (text) *into = std::move(*text);
  }
  return ok();
}

Status read_numbers(const JsonReader& in, Template& out) {
  const std::pair<std::string_view, std::int64_t*> fields[] = {
      {"vcpus", &out.vcpus}, {"memoryMB", &out.memory_mb}, {"diskMB", &out.disk_mb}};
  for (const auto& [key, into] : fields) {
    TRY(auto number, in.opt_int(key, 1, 1ll << 30));
    if (number) *into = *number;
  }
  return ok();
}

}  // namespace

Result<Template> Template::parse(std::string_view text, const std::string& layers_dir) {
  TRY(const json::value root, parse_json(text));
  const JsonReader in(root);
  CHECK_OK(in.require_object());
  Template out;
  CHECK_OK(read_texts(in, out));
  CHECK_OK(read_numbers(in, out));
  TRY(const auto ids, in.strings("layers", kLayersMax));
  if (ids.empty()) return make_error(Errc::invalid, "layers: a template needs at least one");
  for (const std::string& id : ids) {
    if (!is_layer_id(id)) return make_error(Errc::invalid, "layers: an id must match [a-z0-9]{1,64}");
    out.layers.push_back(layers_dir + "/" + id);
  }
  TRY(const auto env, in.string_map("env", limits::env_entries_max, limits::env_bytes_max));
  out.env = {env.begin(), env.end()};
  return out;
}

Result<Template> Template::open(const std::string& dir) {
  const std::string file = dir + "/template.json";
  auto text = read_file(file, kTemplateBytesMax);
  if (!text.ok()) return with_context(std::move(text).error(), "template");
  auto parsed = parse(*text, parent_of(parent_of(dir)) + "/layers");
  if (!parsed.ok()) return with_context(std::move(parsed).error(), file);
  for (const std::string& layer : parsed->layers) {
    struct stat info {};
    if (::stat(layer.c_str(), &info) != 0 || !S_ISDIR(info.st_mode))
      return make_error(Errc::not_found, file + ": its layer " + layer + " is missing; build the template again");
  }
  return parsed;
}

}  // namespace atl::rootfs
