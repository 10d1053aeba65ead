#pragma once
#include "isolation/vm/boot_message.h"
#include "isolation/vm/vm_driver.h"

namespace atl::isolation {

// What is kept of one start until the VMM has its own copies.
struct VmDriver::Parts {
  vm::Start start = vm::Start::boot;
  std::string initrd;
  UniqueFd image, disk, log, control, vmm_log;
  UniqueFd memory;          // of a machine that is to be saved
  vm::SavedStatePtr saved;  // of a clone
  vm::BootChannel boot;
};

}  // namespace atl::isolation
