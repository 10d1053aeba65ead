#include "isolation/oci/verify.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/nsfs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <charconv>

#include "base/crypto.h"
#include "base/fs.h"
#include "base/limits.h"

namespace atl::isolation::oci {
namespace {

// The kernel's names of namespaces, and whether runsc's host process has one of its own: what
// gVisor does not get from the host it has inside, in its own kernel.
struct NamespaceKind {
  const char* name;
  bool runsc_too;
};
constexpr NamespaceKind kNamespaces[] = {{"user", true}, {"mnt", true}, {"pid", true},    {"ipc", true},
                                         {"uts", true},  {"net", true}, {"cgroup", false}};

Error weaker(const std::string& what) {
  return make_error(Errc::unsupported, "the sandbox came up weaker than asked, so it was ended: " + what);
}

Result<json::object> verify_namespaces(const Plan& plan, const std::string& proc) {
  json::object found;
  for (const NamespaceKind& kind : kNamespaces) {
    struct stat inside {}, host {};
    const std::string path = proc + "/ns/" + kind.name;
    if (::stat(path.c_str(), &inside) != 0) return os_error("stat", path);
    if (::stat((std::string("/proc/self/ns/") + kind.name).c_str(), &host) != 0) return os_error("stat", kind.name);
    const bool own = inside.st_ino != host.st_ino;
    if (!own && (plan.runtime == Runtime::crun || kind.runsc_too))
      return weaker(std::string("it shares the host's ") + kind.name + " namespace");
    if (own) found[kind.name] = static_cast<std::uint64_t>(inside.st_ino);
  }
  return found;
}

// Exactly one line "0 <base> 65536".
Status verify_id_map(const std::string& path, std::uint32_t base) {
  TRY(const std::string text, read_file(path, 65536));
  unsigned long long inside = 0, outside = 0, count = 0;
  const int fields = std::sscanf(text.c_str(), "%llu %llu %llu", &inside, &outside, &count);
  if (fields == 3 && inside == 0 && outside == base && count == limits::uid_range_size &&
      text.find('\n') == text.size() - 1)
    return ok();
  return weaker(path + " is not 0 " + std::to_string(base) + " " + std::to_string(limits::uid_range_size));
}

Status verify_confinement(const Plan& plan, const Confinement& found) {
  if (found.seccomp_mode != 2 || found.seccomp_filters < 1) return weaker("no system call filter is on process 1");
  if (plan.runtime != Runtime::crun) return ok();
  if (found.bounding != capability_mask() || (found.effective & ~capability_mask()) != 0)
    return weaker(fmt::format("capabilities are {:x} of at most {:x}, asked was {:x}", found.effective, found.bounding,
                              capability_mask()));
  return ok();
}

Status verify_membership(const cgroup::Group& group, pid_t init) {
  for (const auto& [controller, folder] : group.folders()) {
    const auto inside = cgroup::Group(cgroup::Version::v2, {{"", folder}}).processes();
    if (!std::binary_search(inside.begin(), inside.end(), init))
      return weaker("process 1 is not in " + folder);
  }
  return ok();
}

json::object limits_json(const Plan& plan, const cgroup::InForce& in_force) {
  json::object out{{"memoryBytes", in_force.memory_bytes},
                   {"cpus", in_force.cpus},
                   {"pids", in_force.pids},
                   {"diskBytes", plan.spec.limits.disk_bytes},
                   {"inodes", plan.spec.limits.inodes}};
  // null: the kernel does not account for swap.
  out["swapBytes"] = in_force.swap_bytes < 0 ? json::value(nullptr) : json::value(in_force.swap_bytes);
  return out;
}

}  // namespace

Result<Confinement> parse_confinement(std::string_view status) {
  auto field = [&](std::string_view name, int base) -> Result<std::uint64_t> {
    const std::string key = std::string(name) + ":\t";
    auto at = status.rfind(key, 0) == 0 ? 0 : status.find("\n" + key);
    if (at == std::string_view::npos)
      return make_error(Errc::unsupported, "/proc status lacks " + std::string(name) + "; the kernel is too old");
    at = status.find('\t', at) + 1;
    std::uint64_t value = 0;
    const auto [end, err] = std::from_chars(status.data() + at, status.data() + status.size(), value, base);
    if (err != std::errc()) return make_error(Errc::internal, "/proc status: " + std::string(name) + " is no number");
    return value;
  };
  Confinement out;
  TRY(const auto mode, field("Seccomp", 10));
  TRY(const auto filters, field("Seccomp_filters", 10));
  TRY(out.bounding, field("CapBnd", 16));
  TRY(out.effective, field("CapEff", 16));
  TRY(const auto no_new_privs, field("NoNewPrivs", 10));
  out.seccomp_mode = static_cast<int>(mode);
  out.seccomp_filters = static_cast<int>(filters);
  out.no_new_privs = no_new_privs != 0;
  return out;
}

Status verify_owner(const std::string& proc, uid_t owner) {
  TRY(const UniqueFd users, open_fd(proc + "/ns/user", O_RDONLY));
  uid_t found = 0;
  if (::ioctl(users.get(), NS_GET_OWNER_UID, &found) != 0) return os_error("ioctl(NS_GET_OWNER_UID)", proc);
  if (found == owner) return ok();
  return weaker("its user namespace belongs to user " + std::to_string(found) + " of the host, not to " +
                std::to_string(owner));
}

Result<json::object> verify(const Plan& plan, pid_t init, const cgroup::Group& group) {
  const std::string proc = "/proc/" + std::to_string(init);
  TRY(const std::string status, read_file(proc + "/status", 65536));
  TRY(const Confinement found, parse_confinement(status));
  CHECK_OK(verify_confinement(plan, found));
  TRY(json::object namespaces, verify_namespaces(plan, proc));
  if (plan.runtime == Runtime::crun) CHECK_OK(verify_owner(proc, plan.spec.uid_base));
  CHECK_OK(verify_id_map(proc + "/uid_map", plan.spec.uid_base));
  CHECK_OK(verify_id_map(proc + "/gid_map", plan.spec.uid_base));
  CHECK_OK(verify_membership(group, init));
  TRY(const cgroup::InForce in_force, group.in_force());

  // Of the filter's code; gVisor's own is inside runsc, so its version says which.
  const json::value filter_sha256 =
      plan.runtime == Runtime::crun ? json::value(sha256_hex(plan.seccomp_bpf)) : json::value(nullptr);
  json::array capabilities;
  for (std::string_view capability : kCapabilities) capabilities.push_back(json::string(capability));
  return json::object{
      {"namespaces", std::move(namespaces)},
      {"uidRange", {{"first", plan.spec.uid_base}, {"count", limits::uid_range_size}}},
      {"seccomp", {{"mode", "filter"}, {"filters", found.seccomp_filters}}},
      {"seccompSha256", filter_sha256},
      {"capabilities", std::move(capabilities)},
      {"noNewPrivs", found.no_new_privs},
      {"limits", limits_json(plan, in_force)}};
}

}  // namespace atl::isolation::oci
