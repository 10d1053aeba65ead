#pragma once
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "store/records.h"

namespace atl::control {

struct Template {
  std::string name;  // its folder
  std::string id, build_id;
  std::string tier;  // "" = auto
  std::int64_t vcpus = 2, memory_mb = 1024, disk_mb = 10240;
  std::int64_t created_ms = 0;
};

// The templates of this host: one folder each, with template.json. All projects may use them.
class TemplateCatalog {
 public:
  // Reads them all; blocking. A folder without a usable template.json is left out and logged.
  static Result<std::vector<Template>> read(const std::string& templates_dir);

  void replace(std::vector<Template> templates);
  // By name or id, in either case, with an optional `:default` tag and an optional `namespace/` that
  // must be the project's name or id. nullptr: there is none.
  const Template* resolve(std::string_view name, const store::Project& project) const;
  const std::vector<Template>& all() const { return templates_; }

 private:
  std::vector<Template> templates_;  // by name
  std::unordered_map<std::string, std::size_t> by_key_;
};

}  // namespace atl::control
