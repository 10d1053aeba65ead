#include "node/template_defaults.h"

namespace atl::node {

bool valid_template_name(std::string_view name) {
  if (name.empty() || name.size() > 128 || name.front() == '.' || name.find("..") != name.npos) return false;
  return name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_.-") == name.npos;
}

isolation::Limits default_limits(const rootfs::Template& base) {
  isolation::Limits out;
  if (base.vcpus > 0) out.vcpus = base.vcpus;
  if (base.memory_mb > 0) out.memory_bytes = base.memory_mb << 20;
  if (base.disk_mb > 0) out.disk_bytes = base.disk_mb << 20;
  return out;
}

}  // namespace atl::node
