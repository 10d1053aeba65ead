#pragma once
#include <mutex>
#include <string>

#include "isolation/vm/qmp.h"
#include "isolation/vm/vmm.h"

namespace atl::isolation::vm {

// QEMU's `microvm` machine, of version 7.2 (Debian 12) or later.
class Qemu final : public Vmm, private Saving {
 public:
  struct Options {
    std::string path = "/usr/bin/qemu-system-x86_64";
    std::string firmware = "/usr/share/qemu/qboot.rom";  // the machine's default one fails from QEMU 10 on
    Accelerator accelerator = Accelerator::kvm;
  };
  explicit Qemu(Options options) : options_(std::move(options)) {}

  std::string_view name() const override { return "qemu"; }
  Accelerator accelerator() const override { return options_.accelerator; }
  Result<std::string> version() const override;
  std::int64_t overhead_bytes() const override;
  std::int64_t threads_max() const override { return 96; }  // 64 of its I/O pool, and its own
  Launch launch(const Machine& machine, Start start) const override;
  Result<std::unique_ptr<Control>> connect(const std::string& socket, int within_ms) const override;
  const Saving* saving() const override { return this; }

 private:
  Status save(Control& control, int state) const override;
  Status load(Control& control, int state) const override;

  const Options options_;
  mutable std::mutex mutex_;
  mutable std::string version_;  // asked once
};

}  // namespace atl::isolation::vm
