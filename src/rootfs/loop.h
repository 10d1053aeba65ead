#pragma once
#include <optional>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace atl::rootfs {

// A loop device with autoclear: it detaches from its file when the last user of the device is
// gone, be that this descriptor or a mount, so a crash leaves none behind.
struct LoopDevice {
  UniqueFd fd;
  std::string path;  // /dev/loopN
};
Result<LoopDevice> attach_loop(const std::string& image);

// The device whose backing file is `image` now, if any.
std::optional<std::string> find_loop(const std::string& image);
// Whether that device has that backing file now.
bool loop_has(const std::string& device, const std::string& image);

}  // namespace atl::rootfs
