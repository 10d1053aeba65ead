#include "agent/machine/ports.h"

#include <time.h>

#include "base/fs.h"

namespace atl::agent::machine {
namespace {

constexpr char kPorts[] = "/sys/class/virtio-ports";
constexpr int kTries = 5'000;
constexpr timespec kPause{0, 2'000'000};

std::string look_for(const std::string& name) {
  const auto ports = list_dir(kPorts);
  if (!ports.ok()) return "";
  for (const std::string& port : *ports) {
    const auto said = read_file(std::string(kPorts) + "/" + port + "/name", 256);
    const std::string device = "/dev/" + port;
    if (said.ok() && *said == name + "\n" && exists(device)) return device;
  }
  return "";
}

}  // namespace

Result<std::string> find_port(const std::string& name) {
  for (int i = 0; i < kTries; ++i) {
    if (std::string device = look_for(name); !device.empty()) return device;
    ::nanosleep(&kPause, nullptr);
  }
  return make_error(Errc::deadline, "the machine has no virtio-serial port " + name);
}

}  // namespace atl::agent::machine
