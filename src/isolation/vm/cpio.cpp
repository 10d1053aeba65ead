#include "isolation/vm/cpio.h"

#include <fmt/format.h>
#include <sys/stat.h>

namespace atl::isolation::vm {

void CpioWriter::folder(std::string_view path) { entry(path, S_IFDIR | 0755, "", 0, 0); }

void CpioWriter::file(std::string_view path, std::string_view content, unsigned permissions) {
  entry(path, S_IFREG | permissions, content, 0, 0);
}

void CpioWriter::character_device(std::string_view path, unsigned permissions, unsigned major, unsigned minor) {
  entry(path, S_IFCHR | permissions, "", major, minor);
}

std::string CpioWriter::finish() {
  entry("TRAILER!!!", 0, "", 0, 0);
  return std::move(out_);
}

void CpioWriter::pad() { out_.append((4 - out_.size() % 4) % 4, '\0'); }

void CpioWriter::entry(std::string_view path, unsigned mode, std::string_view content, unsigned major, unsigned minor) {
  const unsigned links = S_ISDIR(mode) ? 2 : 1;
  // magic, inode, mode, uid, gid, links, mtime, size, device, device number, length of name, check
  out_ += fmt::format("070701{:08X}{:08X}{:08X}{:08X}{:08X}{:08X}{:08X}{:08X}{:08X}{:08X}{:08X}{:08X}{:08X}",
                      next_inode_++, mode, 0, 0, links, 0, content.size(), 0, 0, major, minor, path.size() + 1, 0);
  out_.append(path).push_back('\0');
  pad();
  out_.append(content);
  pad();
}

}  // namespace atl::isolation::vm
