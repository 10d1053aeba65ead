#pragma once
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace atl::isolation::vm {

enum class Accelerator : std::uint8_t { kvm, emulation };
constexpr std::string_view name(Accelerator a) { return a == Accelerator::kvm ? "kvm" : "tcg"; }

// Names by which the guest finds its parts; agent/machine/ports.h and mounts.cpp look for them.
inline constexpr char kChannelPort[] = "atoll.channel", kBootPort[] = "atoll.boot", kLogPort[] = "atoll.log";
inline constexpr char kRootSerial[] = "atoll-root", kDiskSerial[] = "atoll-disk";

// Places in the VMM's jail. The channel's folder stays; the rest is taken away before the guest runs.
inline constexpr char kJailKernel[] = "/boot/kernel", kJailInitrd[] = "/boot/initrd", kJailChannel[] = "/channel";

// Descriptors are borrowed; the VMM inherits them under the same numbers.
struct Machine {
  std::int64_t vcpus = 1, memory_bytes = 0;
  std::string command_line;    // of the guest's kernel
  int root_image = -1;         // readable
  int disk = -1;               // readable and writable
  int log = -1;                // appends
  int boot = -1;               // the VMM's end of a socket pair, from which the guest gets its boot message
  int boot_peer = -1;          // the other end: the VMM keeps it open, unused
  int control = -1;            // a listening Unix socket, where the VMM takes commands
  int memory = -1;             // the guest's memory as a file; -1 = the VMM's own, anonymous
};

enum class Start : std::uint8_t {
  boot,          // from the kernel
  boot_to_save,  // the same, with its memory in Machine::memory
  clone,         // from a saved state; writes to Machine::memory stay the clone's own
};

struct Bind {
  std::string source, target;
};
// How a VMM is started.
struct Launch {
  std::vector<std::string> argv;
  std::vector<Bind> binds;           // read-only: what it needs to start
  std::vector<int> fds;              // to inherit
};

// A VMM's connection for commands, once it was started. What it answers is hostile as soon as the
// guest has run.
class Control {
 public:
  virtual ~Control() = default;
  // Lets the guest run. Before, no instruction of it was executed.
  virtual Status run() = 0;
};

// What a VMM can that saves a machine and goes on from there any number of times.
class Saving {
 public:
  virtual ~Saving() = default;
  // Stops the guest for good and writes all but its memory to `state`; the memory is in
  // Machine::memory, complete.
  virtual Status save(Control& control, int state) const = 0;
  // Before run(), on a VMM that was started with Start::clone.
  virtual Status load(Control& control, int state) const = 0;
};

// One virtual machine monitor. Its pure part is launch(); the rest blocks and bounds its time.
class Vmm {
 public:
  virtual ~Vmm() = default;
  virtual std::string_view name() const = 0;
  virtual Accelerator accelerator() const = 0;
  virtual Result<std::string> version() const = 0;
  // Host memory that it takes beside the guest's.
  virtual std::int64_t overhead_bytes() const = 0;
  // Its threads at most, beside one for each vCPU.
  virtual std::int64_t threads_max() const = 0;
  virtual Launch launch(const Machine& machine, Start start) const = 0;
  // Connects to its control socket and waits until the machine is made, stopped.
  virtual Result<std::unique_ptr<Control>> connect(const std::string& socket, int within_ms) const = 0;
  // nullptr: it cannot, and each sandbox boots.
  virtual const Saving* saving() const = 0;
};

}  // namespace atl::isolation::vm
