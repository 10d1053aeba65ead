#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace atl::isolation::vm {

// Writes a cpio archive in the form "newc", which the kernel unpacks as its initramfs (its
// Documentation/driver-api/early-userspace/buffer-format.rst). All is root's, with time 0, so that
// the same files give the same bytes. Folders come before what is in them.
class CpioWriter {
 public:
  void folder(std::string_view path);
  void file(std::string_view path, std::string_view content, unsigned permissions);
  void character_device(std::string_view path, unsigned permissions, unsigned major, unsigned minor);
  // Ends the archive and gives it up.
  std::string finish();

 private:
  void entry(std::string_view path, unsigned mode, std::string_view content, unsigned major, unsigned minor);
  void pad();
  std::string out_;
  std::uint32_t next_inode_ = 1;
};

}  // namespace atl::isolation::vm
