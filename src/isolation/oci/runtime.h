#pragma once
#include <string>

#include "base/subprocess.h"
#include "base/unique_fd.h"
#include "isolation/oci/spec.h"

namespace atl::isolation::oci {

// How one runtime's command line is written. The two differ only here, in spec.cpp where it says
// so, and in what verify.cpp looks at.
class RuntimeTool {
 public:
  // `state_root` is the runtime's own folder of this instance.
  RuntimeTool(Runtime kind, std::string path, std::string state_root);

  Runtime kind() const { return kind_; }
  std::string_view name() const { return kind_ == Runtime::crun ? "crun" : "runsc"; }
  const std::string& path() const { return path_; }
  const std::string& state_root() const { return state_root_; }

  // Creates and starts; returns once process 1 runs. Its streams become process 1's.
  Command run(const std::string& id, const std::string& bundle, const std::string& pid_file,
              const std::string& log_file) const;
  // Removes the runtime's state of a sandbox, all of whose processes are dead. The runtimes' own
  // `delete` takes a process and more time, and fails where a start was cut off midway.
  Status forget(const std::string& id) const;
  // The runtime's version, by asking it.
  Result<std::string> version() const;
  // Ids that the runtime has state of.
  std::vector<std::string> ids() const;

 private:
  std::string program() const { return sealed_.valid() ? "/proc/self/fd/" + std::to_string(sealed_.get()) : path_; }
  Command base(const std::string& log_file) const;
  std::string id_of_entry(std::string entry) const;
  Runtime kind_;
  std::string path_, state_root_;
  // crun in sealed memory. From a file it would first bind itself read-only and start anew, since
  // what runs inside could otherwise change the host's file: some 6 ms of each start.
  UniqueFd sealed_;
};

}  // namespace atl::isolation::oci
