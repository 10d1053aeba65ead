#include "isolation/cgroup/layout.h"
#include "isolation/oci/spec.h"
#include "isolation/oci/verify.h"

// A Spec of arbitrary bytes is refused, or its config.json is what was asked, whole and parseable.
// The kernel's texts are parsed along the way: a sandbox's process name is in /proc status.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace atl::isolation;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  [[maybe_unused]] const auto layout = cgroup::parse_layout(text);
  [[maybe_unused]] const auto own = cgroup::parse_own_v2_group(text);
  [[maybe_unused]] const auto confinement = oci::parse_confinement(text);

  oci::Plan plan;
  std::string* fields[] = {&plan.spec.id, &plan.spec.hostname, &plan.spec.channel_dir, &plan.spec.agent_path,
                           &plan.spec.log_path};
  std::size_t at = 0;
  for (std::string* field : fields) {
    const auto end = std::min(text.find('\n', at), text.size());
    field->assign(text.substr(std::min(at, text.size()), end - std::min(at, text.size())));
    at = std::min(end + 1, text.size());
  }
  plan.spec.uid_base = static_cast<std::uint32_t>(std::hash<std::string_view>{}(text));
  plan.runtime = size % 2 ? oci::Runtime::crun : oci::Runtime::runsc;
  if (!oci::check(plan.spec).ok()) return 0;
  const std::string written = atl::json::serialize(oci::make_config(plan));
  const auto again = atl::parse_json(written);
  if (!again.ok() || again->at("hostname").as_string() != plan.spec.hostname) __builtin_trap();
  if (plan.spec.id.find_first_of("/.") != std::string::npos) __builtin_trap();
  return 0;
}
