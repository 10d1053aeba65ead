#include "isolation/host_facts.h"

#include <sys/utsname.h>

#include "base/fs.h"

namespace atl::isolation {
namespace {

std::string first_line(const std::string& path) {
  auto text = read_file(path, 4096);
  if (!text.ok()) return "";
  return text->substr(0, text->find('\n'));
}

}  // namespace

json::object host_facts() {
  json::object facts;
  struct utsname name {};
  if (::uname(&name) == 0) facts["kernel"] = std::string(name.release) + " " + name.machine;
  const std::string cpu = "/sys/devices/system/cpu";
  json::object mitigations;
  if (const auto names = list_dir(cpu + "/vulnerabilities"); names.ok())
    for (const std::string& vulnerability : *names)
      mitigations[vulnerability] = first_line(cpu + "/vulnerabilities/" + vulnerability);
  facts["hostMitigations"] = std::move(mitigations);
  const std::string smt = first_line(cpu + "/smt/active");
  facts["smt"] = smt.empty() ? json::value(nullptr) : json::value(smt == "1");
  return facts;
}

}  // namespace atl::isolation
