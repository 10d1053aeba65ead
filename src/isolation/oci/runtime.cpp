#include "isolation/oci/runtime.h"

#include <algorithm>

#include "base/fs.h"
#include "base/sealed_copy.h"

namespace atl::isolation::oci {
namespace {

constexpr int kRunTimeoutMs = 20'000;

}  // namespace

RuntimeTool::RuntimeTool(Runtime kind, std::string path, std::string state_root)
    : kind_(kind), path_(std::move(path)), state_root_(std::move(state_root)) {
  if (kind_ != Runtime::crun) return;
  if (auto copy = sealed_copy(path_); copy.ok()) sealed_ = std::move(*copy);  // the file serves as well
}

Command RuntimeTool::base(const std::string& log_file) const {
  Command command;
  command.argv = {program(), "--root=" + state_root_};
  command.env = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin"};
  if (!log_file.empty()) command.argv.push_back("--log=" + log_file);
  if (kind_ == Runtime::crun) {
    command.argv.push_back("--cgroup-manager=disabled");
    return command;
  }
  // host-uds=open: process 1 dials the agent's channel, and nothing inside may make a host socket.
  // network=none: gVisor's own stack with loopback alone. overlay2=none: writes go to the root,
  // whose disk is the limit; gVisor's own overlay would hide them from it.
  for (const char* flag : {"--platform=systrap", "--ignore-cgroups", "--network=none", "--host-uds=open",
                           "--overlay2=none", "--file-access=exclusive", "--log-format=text",
                           // sudo works inside and means nothing outside.
                           "--allow-suid"})
    command.argv.push_back(flag);
  return command;
}

Command RuntimeTool::run(const std::string& id, const std::string& bundle, const std::string& pid_file,
                         const std::string& log_file) const {
  Command command = base(log_file);
  for (const std::string& arg : {std::string("run"), std::string("--detach"), "--bundle=" + bundle,
                                 "--pid-file=" + pid_file, id})
    command.argv.push_back(arg);
  command.timeout_ms = kRunTimeoutMs;
  return command;
}

// What an entry of the runtime's folder belongs to; "" = to no sandbox.
std::string RuntimeTool::id_of_entry(std::string entry) const {
  // crun: a folder ID. runsc: files ID_sandbox:ID.state and .lock, sockets runsc-ID.sock.
  if (kind_ == Runtime::runsc) {
    if (entry.rfind("runsc-", 0) == 0) entry.erase(0, 6);
    const auto end = entry.find_first_of("_.");
    if (end == std::string::npos) return "";
    entry.resize(end);
  }
  const bool plain = std::all_of(entry.begin(), entry.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
  });
  return plain ? entry : "";
}

Status RuntimeTool::forget(const std::string& id) const {
  const auto names = list_dir(state_root_);
  if (!names.ok()) return ok();
  for (const std::string& name : *names)
    if (id_of_entry(name) == id) CHECK_OK(remove_tree(state_root_ + "/" + name));
  return ok();
}

Result<std::string> RuntimeTool::version() const {
  Command command;
  command.argv = {program(), "--version"};
  command.env = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin"};
  command.timeout_ms = 5'000;
  TRY(const std::string said, run_ok(command));
  std::string line = said.substr(0, said.find('\n'));
  // "crun version 1.8.1" and "runsc version ..."
  const std::string prefix = std::string(name()) + " version ";
  if (line.rfind(prefix, 0) == 0) line.erase(0, prefix.size());
  return line;
}

std::vector<std::string> RuntimeTool::ids() const {
  std::vector<std::string> out;
  const auto names = list_dir(state_root_);
  if (!names.ok()) return out;
  for (const std::string& name : *names)
    if (std::string id = id_of_entry(name); !id.empty()) out.push_back(std::move(id));
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

}  // namespace atl::isolation::oci
