#include "isolation/vm/verify.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>

#include "base/fs.h"
#include "isolation/oci/verify.h"

namespace atl::isolation::vm {
namespace {

Error weaker(const std::string& what) {
  return make_error(Errc::unsupported, "the VMM came up less confined than asked, so it was ended: " + what);
}

Result<json::object> own_namespaces(const std::string& proc) {
  json::object found;
  for (const char* kind : {"mnt", "pid", "net", "ipc", "uts", "cgroup"}) {
    struct stat inside {}, host {};
    // A process is in its pid namespace's own first one from its start; what counts is its children's.
    const std::string path = proc + "/ns/" + kind;
    if (::stat(path.c_str(), &inside) != 0) return os_error("stat", path);
    if (::stat((std::string("/proc/self/ns/") + kind).c_str(), &host) != 0) return os_error("stat", kind);
    if (inside.st_ino == host.st_ino) return weaker(std::string("it shares the host's ") + kind + " namespace");
    found[kind] = static_cast<std::uint64_t>(inside.st_ino);
  }
  return found;
}

// "Uid:\t1\t1\t1\t1": all four are the same, asked one.
Status verify_ids(const std::string& status, const char* key, std::uint32_t asked) {
  const auto at = status.find(std::string("\n") + key + ":\t");
  unsigned real = 0, effective = 0, saved = 0, file = 0;
  const int n = at == std::string::npos ? 0
                                        : std::sscanf(status.c_str() + at + std::string_view(key).size() + 2,
                                                      "%u %u %u %u", &real, &effective, &saved, &file);
  if (n == 4 && real == asked && effective == asked && saved == asked && file == asked) return ok();
  return weaker(std::string(key) + " is not " + std::to_string(asked));
}

Status verify_confinement(const std::string& status) {
  TRY(const oci::Confinement found, oci::parse_confinement(status));
  if (found.seccomp_mode != 2 || found.seccomp_filters < 1) return weaker("no system call filter is on it");
  if (found.effective != 0 || found.bounding != 0)
    return weaker(fmt::format("its capabilities are {:x} of at most {:x}", found.effective, found.bounding));
  if (!found.no_new_privs) return weaker("it may gain privileges");
  return ok();
}

Status verify_root(const std::string& proc) {
  TRY(const auto names, list_dir(proc + "/root"));
  if (names != std::vector<std::string>{"channel"}) return weaker("its root holds more than its channel's folder");
  return ok();
}

}  // namespace

Result<json::object> verify(const Confined& asked, pid_t vmm, const cgroup::Group& group) {
  const std::string proc = "/proc/" + std::to_string(vmm);
  TRY(const std::string status, read_file(proc + "/status", 65536));
  CHECK_OK(verify_ids(status, "Uid", asked.uid));
  CHECK_OK(verify_ids(status, "Gid", asked.uid));
  CHECK_OK(verify_confinement(status));
  CHECK_OK(verify_root(proc));
  TRY(json::object namespaces, own_namespaces(proc));
  const auto members = group.processes();
  if (!std::binary_search(members.begin(), members.end(), vmm)) return weaker("it is not in its cgroup");
  TRY(const cgroup::InForce in_force, group.in_force());
  TRY(const oci::Confinement found, oci::parse_confinement(status));
  json::object limits{{"memoryBytes", asked.memory_bytes}, {"vmmMemoryBytes", in_force.memory_bytes},
                      {"cpus", in_force.cpus},             {"pids", asked.pids},
                      {"vmmThreads", in_force.pids},       {"diskBytes", asked.disk_bytes},
                      {"inodes", asked.inodes}};
  limits["swapBytes"] = in_force.swap_bytes < 0 ? json::value(nullptr) : json::value(in_force.swap_bytes);
  return json::object{{"namespaces", std::move(namespaces)},
                      {"uidRange", {{"first", asked.uid}, {"count", 1}}},
                      {"seccomp", {{"mode", "filter"}, {"filters", found.seccomp_filters}}},
                      {"capabilities", json::array{}},
                      {"noNewPrivs", true},
                      {"limits", std::move(limits)}};
}

}  // namespace atl::isolation::vm
