#include "isolation/oci/seccomp_filter.h"

#include <fcntl.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <unistd.h>

#include <memory>

#include "base/fs.h"

namespace atl::isolation::oci {
namespace {

using Filter = std::unique_ptr<void, decltype(&seccomp_release)>;

std::uint32_t action_of(const json::object& rule, const char* err_key) {
  if (rule.contains("action") && rule.at("action") == "SCMP_ACT_ALLOW") return SCMP_ACT_ALLOW;
  return SCMP_ACT_ERRNO(rule.contains(err_key) ? rule.at(err_key).to_number<std::uint16_t>() : EPERM);
}

Result<scmp_arg_cmp> comparison_of(const json::object& arg) {
  const std::pair<std::string_view, scmp_compare> names[] = {{"SCMP_CMP_EQ", SCMP_CMP_EQ},
                                                             {"SCMP_CMP_NE", SCMP_CMP_NE},
                                                             {"SCMP_CMP_GT", SCMP_CMP_GT},
                                                             {"SCMP_CMP_MASKED_EQ", SCMP_CMP_MASKED_EQ}};
  for (const auto& [name, op] : names)
    if (arg.at("op").as_string() == name)
      return scmp_arg_cmp{arg.at("index").to_number<unsigned>(), op, arg.at("value").to_number<std::uint64_t>(),
                          arg.contains("valueTwo") ? arg.at("valueTwo").to_number<std::uint64_t>() : 0};
  return make_error(Errc::internal, "seccomp: unknown comparison");
}

Status add_rule(scmp_filter_ctx filter, const json::object& rule) {
  std::vector<scmp_arg_cmp> comparisons;
  if (rule.contains("args"))
    for (const json::value& arg : rule.at("args").as_array()) {
      TRY(const scmp_arg_cmp comparison, comparison_of(arg.as_object()));
      comparisons.push_back(comparison);
    }
  const std::uint32_t action = action_of(rule, "errnoRet");
  for (const json::value& name : rule.at("names").as_array()) {
    const int number = seccomp_syscall_resolve_name(name.as_string().c_str());
    if (number == __NR_SCMP_ERROR) continue;
    const int rc = seccomp_rule_add_array(filter, action, number, static_cast<unsigned>(comparisons.size()),
                                          comparisons.data());
    // EACCES: the rule says what the default action says already.
    if (rc != 0 && rc != -EACCES) return os_error("seccomp_rule_add", name.as_string().c_str(), -rc);
  }
  return ok();
}

}  // namespace

Result<std::string> compile_seccomp(const json::object& profile) {
  const Filter filter(seccomp_init(action_of(profile, "defaultErrnoRet")), seccomp_release);
  if (!filter) return make_error(Errc::internal, "seccomp_init failed");
  // A binary tree over the numbers: no system call walks the whole list.
  seccomp_attr_set(filter.get(), SCMP_FLTATR_CTL_OPTIMIZE, 2);
  for (const json::value& rule : profile.at("syscalls").as_array()) CHECK_OK(add_rule(filter.get(), rule.as_object()));
  const UniqueFd file(::memfd_create("seccomp", MFD_CLOEXEC));
  if (!file.valid()) return os_error("memfd_create", "seccomp");
  if (const int rc = seccomp_export_bpf(filter.get(), file.get()); rc != 0)
    return os_error("seccomp_export_bpf", "", -rc);
  const off_t size = ::lseek(file.get(), 0, SEEK_END);
  std::string code(static_cast<std::size_t>(std::max<off_t>(size, 0)), '\0');
  if (::pread(file.get(), code.data(), code.size(), 0) != static_cast<ssize_t>(code.size()) || code.empty())
    return os_error("pread", "seccomp");
  return code;
}

}  // namespace atl::isolation::oci
